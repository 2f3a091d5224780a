"""What is left of several segments, as one: without the deleted, in the order of appending."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .layout import Counts, Layout
from .segment_file import Parts
from .snapshot import Part

PIECE_BYTES = 8 * 2**20
"""Copied at once."""


@dataclass(frozen=True, eq=False)
class Survivors:
    """Of ``parts``; ``others`` are the rest of the index."""

    parts: Sequence[Part]
    others: Sequence[Part]

    def drawn(self) -> tuple[Layout, Parts] | None:
        """The segment they become; None if nothing is left. Raises VectorIndexError."""
        kills, rows = self.kills, self._order[1]
        if not len(kills) and not len(rows):
            return None
        first = self.parts[0].segment
        ends = {part: self._ends(part) for part in ("tokens", "ids", "sources")}
        last = {part: int(array[-1]) for part, array in ends.items()}
        counts = Counts(len(rows), last["tokens"], len(kills), last["ids"], last["sources"])
        numbers, hashes = self._gathered("numbers"), self._gathered("hashes")
        columns = Columns(kills, numbers, hashes, ends["tokens"])
        parts: Parts = {
            **columns.parts(ends["ids"], ends["sources"]),
            **{
                part: functools.partial(self._pieces, part)
                for part in ("ids", "sources", "pooled", "scales", "tokens")
            },
        }
        norm = max(part.segment.layout.norm for part in self.parts)
        return Layout(first.settings, counts, norm), parts

    @functools.cached_property
    def kills(self) -> NDArray[np.int64]:
        """Those that still mean a document of another segment."""
        all_of = [part.segment.kills for part in self.parts]
        kills = np.unique(np.concatenate(all_of)) if all_of else np.empty(0, np.int64)
        found = [kills[part.holding(kills)[0]] for part in self.others]
        return np.unique(np.concatenate([np.empty(0, np.int64), *found]))

    @functools.cached_property
    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which part each survivor comes from, and its row there; the oldest first."""
        owner = np.repeat(np.arange(len(self.parts)), [part.documents for part in self.parts])
        rows = np.concatenate([part.rows for part in self.parts])
        numbers = [part.segment.numbers[part.rows] for part in self.parts]
        order = np.argsort(np.concatenate(numbers), kind="stable")
        return owner[order], rows[order]

    def _runs(self) -> Iterator[tuple[Part, int, int]]:
        """Survivors that lie behind one another: their part, rows first to last (excluded)."""
        owner, rows = self._order
        breaks = (np.diff(owner) != 0) | (np.diff(rows) != 1)
        firsts = np.concatenate([[0], np.flatnonzero(breaks) + 1])[: len(rows)]
        lasts = np.append(firsts[1:], len(rows))
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=False):
            row = int(rows[first])
            yield self.parts[owner[first]], row, row + last - first

    def _gathered(self, name: str) -> NDArray[Any]:
        owner, rows = self._order
        arrays = [getattr(part.segment, name) for part in self.parts]
        found = np.empty(len(rows), arrays[0].dtype)
        for at, array in enumerate(arrays):
            found[owner == at] = array[rows[owner == at]]
        return found

    def _ends(self, part: str) -> NDArray[np.int64]:
        owner, rows = self._order
        lengths = np.empty(len(rows), np.int64)
        for at, its in enumerate(self.parts):
            lengths[owner == at] = np.diff(its.segment.ends(part))[rows[owner == at]]
        return np.cumsum(np.concatenate([[0], lengths]), dtype=np.int64)

    def _pieces(self, part: str) -> Iterator[NDArray[np.uint8]]:
        for its, first, last in self._runs():
            start, stop = its.segment.span(part, first, last)
            for at in range(start, stop, PIECE_BYTES):
                yield its.segment.file.read(at, min(at + PIECE_BYTES, stop)).numpy()
