"""A batch of pairs on its way from the meeting layer to the exit, over tensors that are there.

Whose tensors they are does not matter here: a batch's own, or the fixed ones of a recorded pass.
Rows beyond the batch's are padding: products compute them, attention leaves them out, and no row
looks at another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import numpy as np
import torch
from torch import Tensor

from minireranker.cache import PrefixEntry, SuffixEntry
from minireranker.kernels.sending import sent
from minireranker.models.qwen3_vl import NormRope, Projected, Qwen3VL, pad_rows
from minireranker.models.qwen3_vl.decoder import Attend

from .prefix import Band

__all__ = ["Ascent", "Batch"]


@dataclass(frozen=True, eq=False)
class Batch:
    """What the host knows of a batch's pairs."""

    documents: Sequence[PrefixEntry]
    """Each pair's first segment, on the device."""
    states: Sequence[SuffixEntry]
    """Distinct second segments."""
    rows: Tensor
    """int64 [pair rows], on the CPU: the row of all states that each pair row comes from."""
    cu: Sequence[int]
    """Pairs + 1: pair p has the rows ``[cu[p], cu[p + 1])``."""

    @classmethod
    def of(cls, documents: Sequence[PrefixEntry], suffixes: Sequence[SuffixEntry]) -> Self:
        """One of each a pair."""
        states = list({id(suffix): suffix for suffix in suffixes}.values())
        ends = accumulate((len(state.x) for state in states), initial=0)
        starts = dict(zip((id(state) for state in states), ends, strict=False))
        rows = [np.arange(len(suffix.x)) + starts[id(suffix)] for suffix in suffixes]
        cu = list(accumulate((len(suffix.x) for suffix in suffixes), initial=0))
        return cls(documents, states, torch.from_numpy(np.concatenate(rows)), cu)

    @property
    def pairs(self) -> int:
        """How many."""
        return len(self.documents)

    @property
    def last(self) -> Tensor:
        """int64 [pairs], on the CPU: each pair's last row."""
        return torch.tensor(self.cu[1:]) - 1

    @property
    def levels(self) -> tuple[bool, ...]:
        """Of each layer up to the last that has one: whether a state has a DeepStack map there."""
        count = max(len(state.injections) for state in self.states)
        return tuple(
            any(_map(state, at) is not None for state in self.states) for at in range(count)
        )

    def injections(self) -> list[Tensor | None]:
        """Those of all states, [state rows, hidden], by layer; zeros where a state has none."""
        return [self._injection(at) if there else None for at, there in enumerate(self.levels)]

    def _injection(self, at: int) -> Tensor:
        maps = [(state.x, _map(state, at)) for state in self.states]
        return torch.cat([torch.zeros_like(x) if found is None else found for x, found in maps])


@dataclass(frozen=True, eq=False)
class Ascent:
    """The tensors of a batch, on the model's device.

    Distinct second segments are packed once ("states"): in the first layer projections are taken
    once a state.
    """

    states: Tensor
    """[state rows, hidden], padded to the row tile."""
    rope: NormRope
    """Of the states."""
    rows: Tensor
    """int64 [pair rows, padded to the row tile]: which state row each comes from."""
    last: Tensor
    """int64 [pairs]: where each pair's last token is among the pair rows."""
    injections: Sequence[Tensor | None]
    """DeepStack maps of the states, by layer."""

    @classmethod
    def of(cls, batch: Batch, model: Qwen3VL) -> Self:
        """A batch's own."""
        positions = torch.cat([state.positions for state in batch.states], dim=1)
        return cls(
            pad_rows(torch.cat([state.x for state in batch.states])),
            model.decoder.rope(pad_rows(positions.T).T),
            # Padding rows repeat state row 0: harmless, and every product keeps its row tile.
            sent(pad_rows(batch.rows[:, None])[:, 0], model.device),
            sent(batch.last, model.device),
            [None if found is None else pad_rows(found) for found in batch.injections()],
        )

    def scores(self, model: Qwen3VL, band: Band, attend: Attend) -> Tensor:
        """Raw logit differences, float32 [pairs].

        ``attend`` is given the pair rows' projections; in the last layer those of Q are of the last
        tokens only, padded to the row tile.
        """
        first, exit_layer = band.meeting_layer, band.exit_layer
        x, rope = self.states, self.rope
        for index in range(first, exit_layer):
            heads = self._project(model, band, index, x, rope)
            if index == first:
                x, rope = x[self.rows], rope.rows(self.rows)
            if index == exit_layer - 1:
                x = pad_rows(x[self.last])
            x = model.decoder.layer(index).finish(x, attend(index, heads))
            # Not after the last layer: the last token is text, DeepStack adds nothing to it.
            if index < exit_layer - 1 and index < len(self.injections):
                injected = self.injections[index]
                x = x if injected is None else x + injected[self.rows]
        return model.score(x[: len(self.last)])

    def _project(
        self, model: Qwen3VL, band: Band, index: int, x: Tensor, rope: NormRope
    ) -> Projected:
        """Q, K, V of the pair rows; Q of the last tokens only in the last layer."""
        layer, entering = model.decoder.layer(index), index == band.meeting_layer
        if index == band.exit_layer - 1:
            last = self.rows[self.last] if entering else self.last
            heads = layer.project_some(x, rope, last)
            if not entering:
                return heads
            return Projected(heads.q, heads.k[self.rows], heads.v[self.rows])
        heads = layer.project(x, rope)
        return Projected(*(part[self.rows] for part in heads)) if entering else heads


def _map(state: SuffixEntry, at: int) -> Tensor | None:
    return state.injections[at] if at < len(state.injections) else None
