"""The graph of neighbours (HNSW, by usearch): which documents may be near, without looking at all.

It is made from the pooled vectors, by document number, and can be made anew. It is not extended by
every append: the documents behind it are searched exactly until they are half as many as it has.
Deleted documents stay in it, and are left out of what it finds, until they are a third of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.engine.progress import Progress
from minireranker.errors import VectorIndexError

from .checked_file import digest
from .exact import Nearest, nearest, ranked
from .manifest import GraphEntry
from .snapshot import Snapshot

FEWEST = 1024
"""Documents below which looking at all of them is as quick."""

ADDED_AT_ONCE = 2048
EFFORT = 128
"""Neighbours looked at in a search, at least: usearch's expansion_search."""


class Graph:
    """Of one file, or in memory."""

    def __init__(self, index: Any, below: int) -> None:
        """``index`` has what ``below`` says of GraphEntry."""
        self.index, self.below = index, below

    @classmethod
    def load(cls, folder: Path, entry: GraphEntry, dim: int, view: bool = True) -> Graph:
        """From its file; ``view``: mapped, and cannot be added to.

        Raises VectorIndexError where the file is missing, damaged, or of another usearch.
        """
        path = folder / entry.name
        try:
            if os.stat(path).st_size != entry.bytes or not entry.bytes:
                raise VectorIndexError(f"{path} does not have {entry.bytes} bytes")
            flat = torch.from_file(os.fspath(path), False, entry.bytes, dtype=torch.uint8)
            if digest(flat.numpy()) != entry.root:
                raise VectorIndexError(f"{path} has changed since it was written")
            index = empty(dim)
            index.view(path) if view else index.load(path)
        except (OSError, RuntimeError, ValueError) as error:
            raise VectorIndexError(f"{path} cannot be used ({error})") from error
        if len(index) != entry.documents:
            raise VectorIndexError(f"{path} has {len(index)} documents, not {entry.documents}")
        return cls(index, entry.below)

    def save(self, path: Path) -> GraphEntry:
        """To a file, whose bytes are on the disk then. Raises OSError."""
        try:
            self.index.save(path)
        except RuntimeError as error:
            raise OSError(None, f"usearch cannot write it: {error}", str(path)) from error
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        size, whole = os.stat(path).st_size, self.index.serialized_length
        if size != whole:  # usearch does not look whether the last bytes could be written
            raise OSError(None, f"usearch wrote {size} of {whole} bytes", str(path))
        flat = torch.from_file(os.fspath(path), False, size, dtype=torch.uint8)
        return GraphEntry(path.name, size, digest(flat.numpy()), self.below, len(self.index))

    def extend(self, snapshot: Snapshot) -> None:
        """Add every document it does not have. Raises VectorIndexError."""
        total = sum(len(rows) for _, rows in self._missing(snapshot))
        with Progress("Linking vectors", total, None) as progress:
            for at, rows in self._missing(snapshot):
                segment = snapshot.parts[at].segment
                for first in range(0, len(rows), ADDED_AT_ONCE):
                    some = rows[first : first + ADDED_AT_ONCE]
                    segment.check_rows("pooled", some)
                    vectors = segment.mapped_pooled[torch.from_numpy(some)].numpy()
                    self.index.add(segment.numbers[some].astype(np.uint64), vectors)
                    progress.advance(len(some))
        self.below = snapshot.manifest.next_number

    def _missing(self, snapshot: Snapshot) -> list[tuple[int, NDArray[np.int64]]]:
        found = []
        for at, part in enumerate(snapshot.parts):
            rows = part.rows[part.segment.numbers[part.rows] >= self.below]
            found.append((at, rows))
        return found

    def search(self, snapshot: Snapshot, queries: Tensor, top_k: int) -> list[Nearest]:
        """As ``exact.nearest``, but a nearer document may be missed. Raises VectorIndexError."""
        if 2 * top_k > len(self.index):
            return nearest(snapshot, queries, top_k)
        behind = nearest(snapshot, queries, top_k, since=self.below)
        found = list[Nearest]()
        for query, own in zip(queries, behind, strict=True):
            near = np.concatenate([self._near(snapshot, query, top_k), own.positions])
            # A graph made by several threads has documents that no path leads to.
            enough = len(near) >= min(top_k, snapshot.documents)
            found.append(
                ranked(snapshot, query, near, top_k)
                if enough
                else nearest(snapshot, query[None], top_k)[0]
            )
        return found

    def _near(self, snapshot: Snapshot, query: Tensor, top_k: int) -> NDArray[np.int64]:
        """Positions of documents near the query that still exist: ``top_k``, if there are."""
        count = top_k
        while True:
            count = min(count, len(self.index))
            if not count:
                return np.empty(0, np.int64)
            self.index.expansion_search = max(EFFORT, count)
            keys = self.index.search(query.numpy(), count).keys
            positions = _alive(snapshot, np.sort(keys.astype(np.int64)))
            if len(positions) >= top_k or count == len(self.index):
                return positions
            count = 2 * count + top_k


def empty(dim: int) -> Any:
    """A graph of nothing, a usearch Index."""
    from usearch.index import Index

    return Index(ndim=dim, metric="ip", dtype="f16", enable_key_lookups=False)


def due(snapshot: Snapshot) -> Literal["new", "more"] | None:
    """Whether this state needs another graph, or more in the one it has; None: neither."""
    entry = snapshot.manifest.graph
    if entry is None:
        return "new" if snapshot.documents >= FEWEST else None
    dead, behind = dead_in(entry, snapshot), _from(entry.below, snapshot)
    if 3 * dead > entry.documents:
        return "new"
    return "more" if 2 * behind > entry.documents else None


def dead_in(entry: GraphEntry, snapshot: Snapshot) -> int:
    """How many documents of a graph are deleted."""
    return entry.documents - (snapshot.documents - _from(entry.below, snapshot))


def _from(number: int, snapshot: Snapshot) -> int:
    parts = snapshot.parts
    return sum(int((part.segment.numbers[part.rows] >= number).sum()) for part in parts)


def _alive(snapshot: Snapshot, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    found = [np.empty(0, np.int64)]
    for part, base in zip(snapshot.parts, snapshot.bases[:-1].tolist(), strict=True):
        rows = part.holding(numbers)[1]
        found.append(base + (rows if part.alive is None else rows[part.alive[rows]]))
    return np.concatenate(found)
