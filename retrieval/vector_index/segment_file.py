"""Writes one segment file: parts one after the other, checks behind them, all on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np

from .checked_file import digest
from .layout import BLOCK, HEADER_BYTES, Layout

Chunks: TypeAlias = "Iterable[bytes | memoryview | np.ndarray]"
"""Bytes in pieces, so that nothing large is made at once."""

Parts: TypeAlias = Mapping[str, Callable[[], Chunks]]
"""What a segment is made of: part -> what yields its bytes."""


@dataclass(frozen=True)
class Entry:
    """A segment in the manifest."""

    name: str
    """Of its file."""
    bytes: int
    """Of its file."""
    root: str
    """xxh3_128 of the checks at the file's end, in hex."""
    documents: int
    """Those that have been deleted since included."""


def write_segment(path: Path, layout: Layout, parts: Parts) -> Entry:
    """Make ``path`` and wait until its bytes are on the disk; its name is another's business.

    Raises OSError, FileExistsError too.
    """
    with open(path, "xb", buffering=BLOCK) as file:
        sums = _Sums(file)
        sums.write(layout.header())
        at = HEADER_BYTES
        for part, (start, stop) in layout.spans.items():
            sums.write(bytes(start - at))
            for chunk in parts[part]() if stop > start else ():
                sums.write(chunk)
            assert sums.written == stop, f"{part} has {sums.written - start} bytes for {stop}"
            at = stop
        sums.write(bytes(layout.end - at))
        checks = sums.finish()
        file.write(checks)
        file.flush()
        os.fsync(file.fileno())
    return Entry(path.name, layout.file_bytes, digest(checks), layout.counts.documents)


class _Sums:
    """Writes on, and sums up each block."""

    def __init__(self, file: BinaryIO) -> None:
        from xxhash import xxh3_64

        self.written, self._file, self._new = 0, file, xxh3_64
        self._now, self._sums = xxh3_64(), list[int]()

    def write(self, chunk: bytes | memoryview | np.ndarray) -> None:
        data = chunk.data if isinstance(chunk, np.ndarray) else memoryview(chunk)
        view = data.cast("B") if len(data) else memoryview(b"")
        while len(view):
            room = BLOCK - self.written % BLOCK
            self._now.update(view[:room])
            self._file.write(view[:room])
            self.written += len(view[:room])
            view = view[room:]
            if self.written % BLOCK == 0:
                self._close()

    def finish(self) -> bytes:
        if self.written % BLOCK:
            self._close()
        return np.array(self._sums, np.uint64).tobytes()

    def _close(self) -> None:
        self._sums.append(self._now.intdigest())
        self._now = self._new()
