"""Whose the rows of a packed pass are, and so who attends to whom (method, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from .attention import Attention, Meeting, causal, side_by_side
from .batch import PairBatch

_NOTHING = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of each part of a batch, at one height of the decoder."""

    batch: PairBatch
    headers: tuple[NDArray[np.int64], ...]
    firsts: tuple[NDArray[np.int64], ...]
    """Empty once nothing attends to them any more."""
    seconds: tuple[NDArray[np.int64], ...]
    """One a distinct second segment below the band, one a pair from there on."""
    paired: bool
    """Which of the two."""

    @classmethod
    def below(cls, batch: PairBatch) -> Rows:
        """As packed: headers, firsts, distinct seconds behind one another."""
        headers, firsts = len(batch.headers), len(batch.firsts)
        segments = [*batch.headers, *(first for first, _ in batch.firsts)]
        segments += [second for second, _, _ in batch.seconds]
        parts = _consecutive([len(segment) for segment in segments])
        firsts += headers
        return cls(batch, parts[:headers], parts[headers:firsts], parts[firsts:], paired=False)

    def meeting(self) -> tuple[Rows, NDArray[np.int64]]:
        """From here on a row set a pair; and for each new row, the row it is a copy of."""
        copies = [self.seconds[second] for _, second in self.batch.pairs]
        return self._moved((*self.headers, *self.firsts), copies, paired=True)

    def leaving(self) -> tuple[Rows, NDArray[np.int64]]:
        """Without the first segments; and for each new row, the row it was."""
        return self._moved(self.headers, self.seconds, paired=self.paired)

    def _moved(
        self,
        front: Sequence[NDArray[np.int64]],
        seconds: Sequence[NDArray[np.int64]],
        *,
        paired: bool,
    ) -> tuple[Rows, NDArray[np.int64]]:
        moved = np.concatenate([*front, *seconds])
        new = _consecutive([*map(len, front), *map(len, seconds)])
        headers = len(self.headers)
        rows = Rows(self.batch, new[:headers], new[headers : len(front)], new[len(front) :], paired)
        return rows, moved

    def attention(self, total: int, device: torch.device, *, in_band: bool) -> Attention:
        """Among all rows, ``total`` of them with padding."""
        groups = [
            [causal(rows, _NOTHING) for rows in self.headers],
            [
                causal(rows, self.headers[header])
                for rows, (_, header) in zip(self.firsts, self.batch.firsts, strict=False)
            ],
            self._together() if in_band else self._alone(),
        ]
        return Attention(groups, total, device)

    def _alone(self) -> list[Meeting]:
        return [
            causal(rows, self.headers[header])
            for rows, header in zip(self.seconds, self._second_headers, strict=True)
        ]

    def _together(self) -> list[Meeting]:
        """The second segments of one first segment in one sequence: its K and V are read once."""
        groups: dict[int, list[int]] = {}
        for number, (first, _) in enumerate(self.batch.pairs):
            groups.setdefault(first, []).append(number)
        return [
            side_by_side([self.seconds[number] for number in numbers], self._before(first))
            for first, numbers in groups.items()
        ]

    def last_attention(self, total: int, device: torch.device, *, in_band: bool) -> Attention:
        """Of the last row of each second segment alone; row i of Q is that of the i-th."""
        meetings = []
        for number, (rows, header) in enumerate(
            zip(self.seconds, self._second_headers, strict=True)
        ):
            first = self.batch.pairs[number][0]
            before = self._before(first) if in_band else self.headers[header]
            keys = np.concatenate((before, rows))
            meetings.append(Meeting(np.array([number]), keys, np.ones((1, len(keys)), np.bool_)))
        return Attention([meetings], total, device)

    def _before(self, first: int) -> NDArray[np.int64]:
        header = self.headers[self.batch.firsts[first][1]]
        return np.concatenate((header, self.firsts[first]))

    @cached_property
    def _second_headers(self) -> list[int]:
        if not self.paired:
            return [header for _, header, _ in self.batch.seconds]
        return [self.batch.seconds[second][1] for _, second in self.batch.pairs]

    @property
    def ends(self) -> NDArray[np.int64]:
        """[seconds] the last row of each second segment."""
        return np.array([rows[-1] for rows in self.seconds], np.int64)


def _consecutive(lengths: Sequence[int]) -> tuple[NDArray[np.int64], ...]:
    """Rows of parts behind one another."""
    ends = np.cumsum([0, *lengths])
    return tuple(np.arange(start, stop) for start, stop in pairwise(ends))
