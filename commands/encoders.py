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
    """A directory, absolute, a hub id, or ``builtin``."""
    dtype: str = "auto"
    """As it was asked for."""
    adapter: str = ""
    """SMART's adapter, an absolute path; empty: none."""

    @classmethod
    def of(cls, kind: str, path: str, dtype: str, adapter: Path | None = None) -> EncoderPlace:
        """With the paths as another process will find them."""
        from minireranker.models import BUILTIN

        found = Path(path).expanduser()
        is_folder = path != BUILTIN and found.is_dir()
        place = cls(kind, os.path.abspath(found) if is_folder else path, dtype)
        return place if adapter is None else place.adapted(adapter)

    def adapted(self, adapter: Path) -> EncoderPlace:
        """With an adapter. Raises ConfigurationError for an encoder that takes none."""
        if self.kind != "smart":
            raise ConfigurationError(f"--adapter {adapter}: {self.kind} takes none, smart does")
        return replace(self, adapter=os.path.abspath(adapter.expanduser()))

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
        if self.adapter and not os.path.isfile(self.adapter):
            raise ConfigurationError(
                f"{folder} was made with the adapter {self.adapter}, which is not there any more: "
                "put it back"
            )


class Loader:
    """Loads encoders on one device; an embedder that several of them share only once."""

    def __init__(self, device: str) -> None:
        """Nothing is loaded yet."""
        self._device = device
        self._loaded: dict[EncoderPlace, LateInteraction] = {}

    def load(self, place: EncoderPlace) -> LateInteraction:
        """Raises CheckpointError and ConfigurationError."""
        if place not in self._loaded:
            self._loaded[place] = self._made(place)
        return self._loaded[place]

    def _made(self, place: EncoderPlace) -> LateInteraction:
        from minireranker.retrieval.late_interaction import Adapter, Pooled, Smart, open_encoder

        embedder = next(self._embedders(place), None)
        if place.kind == "pooled" and embedder is not None:
            return Pooled(embedder)
        if place.kind == "smart" and embedder is not None:
            return Smart(embedder, Adapter.load(place.adapter) if place.adapter else None)
        options: dict[str, Any] = {"adapter": place.adapter} if place.adapter else {}
        return open_encoder(
            place.kind, place.path, device=self._device, dtype=place.dtype, **options
        )

    def _embedders(self, place: EncoderPlace) -> Iterator[Embedder]:
        """Of the same checkpoint in the same dtype, for whatever kind it was loaded."""
        for other, encoder in self._loaded.items():
            same = (other.path, other.dtype) == (place.path, place.dtype)
            if same and hasattr(encoder, "embedder"):
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
