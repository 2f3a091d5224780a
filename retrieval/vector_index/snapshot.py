"""One state of an index, mapped: it stays as it is while others write on."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minireranker.errors import UnknownDocumentError, VectorIndexError

from .checked_file import damage
from .damages import named
from .manifest import Manifest, load
from .segment import Keys, Segment

ATTEMPTS = 10
"""How often a state is read whose files a writer removes meanwhile."""


@dataclass(frozen=True, eq=False)
class Part:
    """A segment, and which of its documents still exist."""

    segment: Segment
    alive: NDArray[np.bool_] | None
    """[n]; None: all of them."""

    @functools.cached_property
    def rows(self) -> NDArray[np.int64]:
        """Of those that exist, rising."""
        everyone = np.arange(self.segment.documents)
        return everyone if self.alive is None else np.flatnonzero(self.alive)

    @functools.cached_property
    def documents(self) -> int:
        """How many still exist."""
        return self.segment.documents if self.alive is None else int(self.alive.sum())

    def without(self, numbers: NDArray[np.int64]) -> Part:
        """The same, less the documents that have these numbers."""
        rows = self.holding(numbers)[1]
        if not len(rows):
            return self
        alive = np.ones(self.segment.documents, bool) if self.alive is None else self.alive.copy()
        alive[rows] = False
        return Part(self.segment, alive)

    def holding(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Which of the numbers are here, and their rows; deleted or not."""
        own = self.segment.numbers if len(numbers) else np.empty(0, np.int64)
        rows = np.searchsorted(own, numbers)
        rows[rows == len(own)] = 0
        places = np.flatnonzero(own[rows] == numbers) if len(own) else np.empty(0, np.intp)
        return places, rows[places]


@dataclass(frozen=True, eq=False)
class Places:
    """Where documents are: in ``parts[part[i]]``, row ``row[i]``; part -1 where nowhere."""

    part: NDArray[np.intp]
    row: NDArray[np.int64]

    def by_part(self) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.int64]]]:
        """Of each part that has any: its place, which documents, their rows (rising)."""
        for at in np.unique(self.part[self.part >= 0]).tolist():
            which = np.flatnonzero(self.part == at)
            which = which[np.argsort(self.row[which], kind="stable")]
            yield at, which, self.row[which]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What the index consists of, at one moment. Safe to share between threads."""

    manifest: Manifest
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, folder: Path, before: Snapshot | None = None) -> Snapshot:
        """The state now; ``before`` saves mapping again what is mapped.

        Raises VectorIndexError.
        """
        for _ in range(ATTEMPTS):
            now = load(folder)
            if before is not None and before.manifest == now:
                return before
            try:
                return cls._mapped(folder, now, before)
            except FileNotFoundError as error:  # a writer has merged it with others meanwhile
                if load(folder) == now:
                    raise damage(Path(str(error.filename)), "it is missing") from error
        raise VectorIndexError(f"{folder} is rewritten all the time: try again later")

    @classmethod
    def _mapped(cls, folder: Path, now: Manifest, before: Snapshot | None) -> Snapshot:
        known = {part.segment.entry: part for part in before.parts} if before else {}
        parts, fresh = list[Part](), list[Segment]()
        for entry in now.segments:
            if entry not in known:
                fresh.append(Segment(folder / entry.name, entry, now.settings))
            parts.append(known.get(entry) or Part(fresh[-1], None))
        # What an earlier state has as deleted stays so, and what is merged is without it: only the
        # kills in new segments are news.
        news = _merged([segment.kills for segment in fresh])
        return cls(now, tuple(part.without(news) for part in parts))

    @functools.cached_property
    def documents(self) -> int:
        """How many exist."""
        return sum(part.documents for part in self.parts)

    @functools.cached_property
    def bases(self) -> NDArray[np.int64]:
        """[parts + 1]: row r of part p is position ``bases[p] + r``."""
        return np.cumsum([0, *(part.segment.documents for part in self.parts)], dtype=np.int64)

    @functools.cached_property
    def ordered(self) -> Places:
        """All documents that exist, the oldest first."""
        parts = [np.full(part.documents, at) for at, part in enumerate(self.parts)]
        rows = [part.rows for part in self.parts]
        numbers = [part.segment.numbers[part.rows] for part in self.parts]
        order = np.argsort(np.concatenate(numbers or [np.empty(0, np.int64)]), kind="stable")
        nothing = [np.empty(0, np.int64)]
        return Places(
            np.concatenate(parts or nothing)[order], np.concatenate(rows or nothing)[order]
        )

    def find(self, ids: Sequence[str], keys: Keys | None = None) -> Places:
        """Where documents are."""
        keys = keys or Keys.of(ids)
        found = Places(np.full(len(ids), -1, np.intp), np.zeros(len(ids), np.int64))
        for at, part in enumerate(self.parts):
            places, rows = part.segment.find(keys)
            if part.alive is not None:
                places, rows = places[part.alive[rows]], rows[part.alive[rows]]
            found.part[places], found.row[places] = at, rows
        return found

    def located(self, ids: Sequence[str]) -> Places:
        """Where documents are. Raises UnknownDocumentError unless all exist."""
        found = self.find(ids)
        missing = tuple(ids[at] for at in np.flatnonzero(found.part < 0).tolist())
        if missing:
            raise UnknownDocumentError(
                f"no document {named(missing)} in this index: append it, or leave it out"
            )
        return found

    def at(self, positions: NDArray[np.int64]) -> Places:
        """Where documents are, by position (see ``bases``)."""
        part = np.searchsorted(self.bases, positions, "right") - 1
        return Places(part, positions - self.bases[part])

    def texts(self, part: str, places: Places) -> list[str]:
        """Ids, or sources ("" for None)."""
        found = [""] * len(places.part)
        for at, which, rows in places.by_part():
            texts = self.parts[at].segment.texts(part, rows)
            for place, text in zip(which.tolist(), texts, strict=True):
                found[place] = text
        return found

    def numbers(self, places: Places) -> NDArray[np.int64]:
        """Of documents that were found, in order."""
        found = np.empty(len(places.part), np.int64)
        for at, which, rows in places.by_part():
            found[which] = self.parts[at].segment.numbers[rows]
        return found


def _merged(kills: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    some = [array for array in kills if len(array)]
    return np.unique(np.concatenate(some)) if some else np.empty(0, np.int64)
