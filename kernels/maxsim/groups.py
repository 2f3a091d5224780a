"""Documents of a call in groups that fit a block: neighbours in the pool go together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_WINDOW = 2**14
"""Documents sorted at a time, so that planning takes less than a MiB, however many there are."""

_SLACK = 4
"""A group may span a fourth more rows than it has: gaps that size cost less than copying."""


@dataclass(frozen=True, eq=False)
class Group:
    """Documents, none of them empty, whose rows are computed together, in the pool's order."""

    documents: NDArray[np.int64]
    """[n]: which of the call's."""
    starts: NDArray[np.int64]
    """[n]: first pool row of each."""
    lengths: NDArray[np.int64]
    """[n]: rows of each."""

    @property
    def span(self) -> tuple[int, int]:
        """The smallest range of pool rows that holds every document."""
        return int(self.starts[0]), int((self.starts + self.lengths).max())

    @property
    def bounds(self) -> NDArray[np.int64]:
        """[n + 1]: the documents behind one another, gaps left out."""
        return np.concatenate(([0], np.cumsum(self.lengths)))

    @property
    def seamless(self) -> bool:
        """Whether each document begins where the one before it ends."""
        return bool((self.starts[1:] == self.starts[:-1] + self.lengths[:-1]).all())

    def rows(self) -> Tensor:
        """[total] int64: the pool row of every token."""
        shifts = self.starts - self.bounds[:-1]
        return torch.from_numpy(np.repeat(shifts, self.lengths) + np.arange(self.lengths.sum()))

    def pieces(self, most: int) -> Iterator[Group]:
        """The same tokens, at most ``most`` at a time: a document longer than that is alone."""
        if int(self.lengths.sum()) <= most:
            yield self
            return
        start, length = int(self.starts[0]), int(self.lengths[0])
        for at in range(0, length, most):
            part = np.array([start + at]), np.array([min(most, length - at)])
            yield Group(self.documents, *part)


def widest(most: int) -> int:
    """Rows that the span of a group computed in place may have."""
    return most + most // _SLACK


def in_place(group: Group) -> bool:
    """Whether the rows between the group's first and last are nearly all its own."""
    low, high = group.span
    rows = int(group.lengths.sum())
    return high - low <= rows + rows // _SLACK


def groups(starts: Tensor, lengths: Tensor, most: int) -> Iterator[Group]:
    """Every document with rows, once; a group has at most ``most`` rows, or one document."""
    for at in range(0, len(starts), _WINDOW):
        first, rows = (part[at : at + _WINDOW].numpy() for part in (starts, lengths))
        order = np.flatnonzero(rows)
        if (np.diff(first[order]) < 0).any():
            order = order[np.argsort(first[order], kind="stable")]
        yield from _cut(Group(order + at, first[order], rows[order]), most)


def _cut(window: Group, most: int) -> Iterator[Group]:
    bounds, count = window.bounds, len(window.documents)
    at = 0
    while at < count:
        stop = int(np.searchsorted(bounds, bounds[at] + most, side="right")) - 1
        stop = max(stop, at + 1)
        yield Group(window.documents[at:stop], window.starts[at:stop], window.lengths[at:stop])
        at = stop
