"""Which encoder an index was made with: written beside it, so that a search need not say.

encoder.json    {"kind": "smart", "path": "/models/embedding-2b", "dtype": "auto"}
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.errors import ConfigurationError, VectorIndexError

if TYPE_CHECKING:
    from minireranker.engine import Embedder
    from minireranker.retrieval.late_interaction import LateInteraction

__all__ = ["EncoderPlace", "Loader", "parse_encoders"]

_FILE = "encoder.json"


@dataclass(frozen=True)
class EncoderPlace:
    """Where an encoder comes from."""

    kind: str
    path: str
    """A directory, absolute, or a hub id."""
    dtype: str = "auto"
    """As it was asked for."""

    @classmethod
    def of(cls, kind: str, path: str, dtype: str) -> EncoderPlace:
        """With the path as another process will find it."""
        found = Path(path).expanduser()
        return cls(kind, os.path.abspath(found) if found.is_dir() else path, dtype)

    @classmethod
    def read(cls, folder: Path) -> EncoderPlace | None:
        """What is written in an index's folder; None where nothing is, or nothing sound."""
        with suppress(OSError, ValueError, TypeError, RecursionError):
            place = cls(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
            if all(isinstance(value, str) for value in asdict(place).values()):
                return place
        return None

    def write(self, folder: Path) -> None:
        """Beside the index. Raises VectorIndexError where that cannot be."""
        part = folder / f"{_FILE}.part"
        try:
            part.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
            part.replace(folder / _FILE)
        except OSError as error:
            raise VectorIndexError(
                f"{folder / _FILE} cannot be written ({error.strerror or error}); make the folder "
                "writable, or choose another"
            ) from error

    def check(self, folder: Path) -> None:
        """Raise ConfigurationError for a directory that has gone since it was written down."""
        if os.path.isabs(self.path) and not os.path.isdir(self.path):
            raise ConfigurationError(
                f"{folder} was made with the encoder {self.kind} in {self.path}, which is not "
                f"there any more; say where it is with --encoder {self.kind}=PATH"
            )


class Loader:
    """Loads encoders on one device; an embedder that several of them share only once."""

    def __init__(self, device: str) -> None:
        """Nothing is loaded yet."""
        self._device = device
        self._loaded: dict[EncoderPlace, LateInteraction] = {}

    def load(self, place: EncoderPlace) -> LateInteraction:
        """Raises CheckpointError and ConfigurationError."""
        from minireranker.retrieval.late_interaction import Pooled, Smart, open_encoder

        if place not in self._loaded:
            makers: dict[str, Any] = {"pooled": Pooled, "smart": Smart}
            embedder = next(self._embedders(place), None)
            if place.kind in makers and embedder is not None:
                self._loaded[place] = makers[place.kind](embedder)
            else:
                self._loaded[place] = open_encoder(
                    place.kind, place.path, device=self._device, dtype=place.dtype
                )
        return self._loaded[place]

    def _embedders(self, place: EncoderPlace) -> Iterator[Embedder]:
        """Of the same checkpoint in the same dtype, for whatever kind it was loaded."""
        for other, encoder in self._loaded.items():
            if replace(other, kind=place.kind) == place and hasattr(encoder, "embedder"):
                yield encoder.embedder


def parse_encoders(options: Sequence[str]) -> dict[str, str]:
    """KIND=PATH options as paths by kind. Raises ConfigurationError."""
    from minireranker.retrieval.late_interaction import KINDS

    found: dict[str, str] = {}
    for option in options:
        kind, separator, path = option.partition("=")
        if kind not in KINDS or not separator or not path:
            raise ConfigurationError(
                f"--encoder {option!r}: write KIND=PATH, KIND one of {', '.join(KINDS)}"
            )
        if found.setdefault(kind, path) != path:
            raise ConfigurationError(f"--encoder {option!r}: another path of {kind} came before")
    return found
