"""What a changed block means: which part of a segment it is, and which documents it hits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from minireranker.errors import VectorIndexError

from .layout import ENDS, HEADER_BYTES

if TYPE_CHECKING:
    from .segment import Segment

NAMED = 5
"""Documents a message names before it counts the others."""

ROW_PARTS = ("numbers", "pooled", *ENDS)
"""Of the others, all documents of a segment need every byte."""


@dataclass(frozen=True)
class Damage:
    """Bytes of one file that are not as they were written, or cannot be read."""

    path: Path
    part: str
    """What the bytes are, in the words of ``nbytes``."""
    start: int
    stop: int
    """From which byte of the file to which (excluded)."""
    documents: tuple[str, ...]
    """Ids of all documents that need these bytes; "row N" where the id cannot be read either."""

    def __str__(self) -> str:
        """In one line."""
        where = f"{self.path}: bytes {self.start} to {self.stop} ({self.part})"
        return where + (f" of {named(self.documents)}" if self.documents else "")


def named(documents: tuple[str, ...]) -> str:
    """The first few, and how many others."""
    first = ", ".join(repr(name) for name in documents[:NAMED])
    more = len(documents) - NAMED
    return f"{first} and {more} other documents" if more > 0 else first


def hits(
    segment: Segment, start: int, stop: int, alive: NDArray[np.bool_] | None = None
) -> Iterator[Damage]:
    """What the bytes from ``start`` to ``stop`` of its file are, one a part.

    Only documents that are ``alive``, if that is given, are named.
    """
    if start < HEADER_BYTES:
        everyone = names_of(segment, 0, segment.documents, alive)
        yield Damage(segment.file.path, "layout", start, min(stop, HEADER_BYTES), everyone)
    for part, (first, last) in segment.layout.spans.items():
        low, high = max(start, first), min(stop, last)
        if low < high:
            documents = names_of(segment, *_rows(segment, part, low, high), alive)
            yield Damage(segment.file.path, part, low, high, documents)


def explain(segment: Segment, start: int, stop: int) -> str:
    """The same, for a message."""
    found = list(hits(segment, start, stop))
    parts = ", ".join(item.part for item in found)
    documents = tuple(dict.fromkeys(name for item in found for name in item.documents))
    return f" ({parts} of {named(documents)})" if documents else f" ({parts})"


def _rows(segment: Segment, part: str, start: int, stop: int) -> tuple[int, int]:
    """Rows first to last (excluded) that have those bytes of a part."""
    if part not in ROW_PARTS:
        return 0, segment.documents
    offset, size = segment.layout.spans[part][0], segment.layout.item_bytes(part)
    first, last = (start - offset) // size, -((offset - stop) // size)
    if part in ENDS:
        try:
            ends = segment.ends(part)
        except VectorIndexError:
            return 0, segment.documents
        first = int(np.searchsorted(ends, first, "right")) - 1
        last = int(np.searchsorted(ends, last, "left"))
    return first, last


def names_of(
    segment: Segment, first: int, last: int, alive: NDArray[np.bool_] | None = None
) -> tuple[str, ...]:
    """Ids of rows first to last (excluded), of those ``alive``; "row N" for what is unreadable."""
    rows = np.arange(first, last)
    rows = rows if alive is None else rows[alive[first:last]]
    try:
        return tuple(segment.texts("ids", rows))
    except VectorIndexError:
        return tuple(f"row {row}" for row in rows.tolist())
