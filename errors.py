"""Every error minireranker raises on purpose; this module imports the standard library only.

    MinirerankerError
    ├── ConfigurationError (ValueError)     an argument, flag or profile that cannot be honoured
    │   ├── ProfileError                    a profile field: names field, value and allowed range
    │   └── UnknownProfileError             a profile name nobody has: lists the ones there are
    ├── CheckpointError                     a model directory that cannot be loaded as it stands
    ├── CacheError                          a cache folder, URL or archive that cannot be used
    │   └── CorruptEntryError               a damaged or foreign entry file: a miss for the engine
    ├── VectorIndexError                    a vector index that cannot be used, or is damaged
    ├── MissingDependencyError (ImportError)  an optional package is needed: names the extra
    ├── InputError (ValueError)             a query or document that cannot be scored
    │   ├── MediaError                      an image or video that may not or cannot be read
    │   ├── TooLongError                    more tokens than a pair may have, after cutting the text
    │   ├── EmptyQueryError                 a query with neither text, image nor video
    │   ├── NoDocumentsError                nothing to rank
    │   └── ImportanceError                 visual-token importances that do not fit their image
    ├── UnknownDocumentError (KeyError)     an id that was never indexed, or whose entry is gone
    ├── NonFiniteScoreError                 the model produced NaN or infinity for a pair
    └── RejectedDocumentsError              some documents failed; carries all other results

A message says what was wrong, where, and ends with what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "CacheError",
    "CheckpointError",
    "ConfigurationError",
    "CorruptEntryError",
    "EmptyQueryError",
    "ImportanceError",
    "InputError",
    "MediaError",
    "MinirerankerError",
    "MissingDependencyError",
    "NoDocumentsError",
    "NonFiniteScoreError",
    "ProfileError",
    "RejectedDocumentsError",
    "TooLongError",
    "UnknownDocumentError",
    "UnknownProfileError",
    "VectorIndexError",
]


class MinirerankerError(Exception):
    """Base of every error raised on purpose by this package."""


class ConfigurationError(MinirerankerError, ValueError):
    """An argument, flag or profile that cannot be honoured."""


class ProfileError(ConfigurationError):
    """A profile field outside what the model allows.

    Attributes: ``field`` (dotted TOML name), ``value`` (what was given), ``allowed`` (in words).
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        """Write the message from its parts."""
        super().__init__(f"profile field {field} = {value!r}: allowed is {allowed}")
        self.field, self.value, self.allowed = field, value, allowed

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors go from process to process, by the arguments that made them."""
        return type(self), (self.field, self.value, self.allowed), vars(self)


class UnknownProfileError(ConfigurationError):
    """A profile name that neither the checkpoint nor the package has."""


class CheckpointError(MinirerankerError):
    """A model directory that cannot be loaded as it stands."""


class CacheError(MinirerankerError):
    """A cache folder, URL or archive that cannot be used as it stands."""


class CorruptEntryError(CacheError):
    """An entry file that is damaged, foreign, or not the one asked for.

    The cache itself treats it as a miss; callers of ``Cache`` never see it.
    """


class VectorIndexError(MinirerankerError):
    """A folder of vectors that cannot be used as it stands, or whose bytes have changed."""


class MissingDependencyError(MinirerankerError, ImportError):
    """An optional package is needed for what was asked."""


class InputError(MinirerankerError, ValueError):
    """A query or document that cannot be scored."""


class MediaError(InputError):
    """An image or video that may not be read (limits, format) or cannot be (damaged)."""


class TooLongError(InputError):
    """A pair with more tokens than the profile allows, even after its text was cut."""


class EmptyQueryError(InputError):
    """A query with neither text, image nor video."""


class NoDocumentsError(InputError):
    """A call without a single document to rank."""


class ImportanceError(InputError):
    """Visual-token importances that do not fit the image or video they came with."""


class UnknownDocumentError(MinirerankerError, KeyError):
    """An id that was never indexed here, or whose cache entry is gone and cannot be rebuilt."""

    def __str__(self) -> str:
        """KeyError would show the message in quotes."""
        return str(self.args[0]) if self.args else ""


class NonFiniteScoreError(MinirerankerError):
    """The model produced NaN or infinity for a pair: never a rank."""


class RejectedDocumentsError(MinirerankerError):
    """Some documents of a call failed; the work on all others is in the exception.

    Attributes: ``failed`` (sequence of ``FailedDocument``), ``result`` (what the call would have
    returned, with NaN where a document failed).
    """

    def __init__(self, failed: Sequence[Any], result: object) -> None:
        """Name the first few documents and count the rest."""
        lines = "; ".join(str(item) for item in failed[:5])
        more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        super().__init__(
            f"{len(failed)} document(s) failed: {lines}{more}. "
            "The other results are in this exception's .result"
        )
        self.failed, self.result = failed, result

    def __reduce__(self) -> tuple[Any, ...]:
        """As for ProfileError."""
        return type(self), (self.failed, self.result), vars(self)
