"""What an index consists of now: one small file, replaced at once or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from minireranker.cache.folder import sync
from minireranker.errors import ConfigurationError, VectorIndexError

from .checked_file import damage, digest
from .segment_file import Entry
from .settings import Settings

NAME = "index.json"
PART = "index.json.part"
FORMAT = "minireranker-vector-index"
VERSION = 1

_FRAME = '{{"format": "{}", "version": {}, "xxh3_128": "{}", "index": {}}}\n'


@dataclass(frozen=True)
class GraphEntry:
    """The graph of neighbours, which can be made anew from the pooled vectors."""

    name: str
    """Of its file."""
    bytes: int
    """Of its file."""
    root: str
    """xxh3_128 of its file, in hex."""
    below: int
    """It has documents with a number below this."""
    documents: int
    """How many; those that have been deleted since included."""


@dataclass(frozen=True)
class Manifest:
    """One state of an index."""

    settings: Settings
    segments: tuple[Entry, ...] = ()
    graph: GraphEntry | None = None
    next_number: int = 0
    """The next document's: numbers are never given twice."""
    next_file: int = 0

    def but(self, **changes: Any) -> Manifest:
        """Another one, with these fields changed."""
        return replace(self, **changes)

    @property
    def names(self) -> set[str]:
        """Of all files it consists of."""
        graph = {self.graph.name} if self.graph else set[str]()
        return {entry.name for entry in self.segments} | graph

    def text(self) -> str:
        """As it stands in the file."""
        index = json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))
        return _FRAME.format(FORMAT, VERSION, digest(index.encode()), index)


def publish(folder: Path, manifest: Manifest) -> None:
    """Make ``manifest`` the state of the index: when this returns it is on the disk.

    The files it names have to be there already, and their bytes on the disk. Raises OSError.
    """
    part = folder / PART
    with open(part, "wb") as file:
        file.write(manifest.text().encode())
        file.flush()
        os.fsync(file.fileno())
    sync(folder)  # the names of the files, before the one that refers to them
    os.rename(part, folder / NAME)
    sync(folder)


def load(folder: Path) -> Manifest:
    """The state of the index in ``folder``.

    Raises VectorIndexError if there is none, or one that is damaged or newer than this version.
    """
    path = folder / NAME
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # a path with a NUL
        raise VectorIndexError(
            f"{folder} holds no vector index: make one with VectorIndex.create"
        ) from error
    except OSError as error:
        raise VectorIndexError(
            f"{path} cannot be read ({error.strerror}): make it readable, or copy the index to "
            "where it is"
        ) from error
    _refuse_newer(path, data)
    return _parsed(path, data)


def _refuse_newer(path: Path, data: bytes) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(data)
        known = isinstance(found, dict) and found.get("format") == FORMAT
        version = found.get("version") if known else None
        if type(version) is int and version > VERSION:
            raise VectorIndexError(
                f"{path} has format version {version}, this minireranker reads up to {VERSION}: "
                "install a newer one"
            )


def _parsed(path: Path, data: bytes) -> Manifest:
    start, _, rest = _FRAME.format(FORMAT, VERSION, "\0", "\0").partition("\0")
    middle, _, end = rest.partition("\0")
    frame = f"{re.escape(start)}([0-9a-f]{{32}}){re.escape(middle)}(.*){re.escape(end)}"
    found = re.fullmatch(frame.encode(), data, re.DOTALL)
    if found is None or digest(found[2]) != found[1].decode():
        raise damage(path, f"its {len(data)} bytes are not those of a manifest, or not all of them")
    try:
        return _of(json.loads(found[2]))
    except (KeyError, TypeError, ValueError, ConfigurationError) as error:
        raise damage(path, f"it lacks what a manifest has ({error})") from error


def _of(fields: dict[str, Any]) -> Manifest:
    segments = tuple(Entry(**entry) for entry in fields["segments"])
    graph = GraphEntry(**fields["graph"]) if fields["graph"] else None
    settings = Settings(**fields["settings"])
    return Manifest(**{**fields, "settings": settings, "segments": segments, "graph": graph})
