"""Scores of a batch of pairs with a gradient, in a profile's form: exit, band, kept tokens.

The engine's factored pass over the engine's own decoder: headers, first segments and distinct
second segments below the band are rows of one packed run. At the band's first layer the second
segments' rows are copied, once a pair; in the last layer only each pair's last token goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from minireranker.engine.packing import Packer
from minireranker.engine.prefix import Band
from minireranker.models.qwen3_vl import NormRope, Qwen3VL, pad_rows

from .attention import Attention
from .batch import PairBatch
from .rows import Rows

Watch: TypeAlias = Callable[[int, Tensor, Rows], None]
"""Told after every layer but the last: its index, the states [rows, hidden], whose they are."""


@dataclass(frozen=True, eq=False)
class _Run:
    """Packed rows between two layers."""

    x: Tensor
    rope: NormRope
    injections: tuple[Tensor, ...]
    rows: Rows

    def moved(self, rows: Rows, came_from: NDArray[np.int64]) -> _Run:
        index = torch.from_numpy(came_from).to(self.x.device)
        index = pad_rows(index[:, None])[:, 0]
        maps = tuple(level[index] for level in self.injections)
        return _Run(self.x[index], self.rope.rows(index), maps, rows)

    def attention(self, *, in_band: bool) -> Attention:
        return self.rows.attention(len(self.x), self.x.device, in_band=in_band)


@dataclass(frozen=True, eq=False)
class PairForward:
    """Scores pairs with a model, differentiably."""

    model: Qwen3VL
    packer: Packer
    band: Band
    recompute: bool = False
    """Keep only the states between layers; all else is computed again for the gradient."""

    def __call__(self, batch: PairBatch, watch: Watch | None = None) -> Tensor:
        """Raw logit differences, float32 [pairs], in the batch's order."""
        run = self._packed(batch)
        attention: Attention | None = None
        for index in range(self.band.exit_layer - 1):
            arrived = self._arrive(index, run)
            in_band = index in self.band.prefix_layers
            if attention is None or arrived is not run:
                attention = arrived.attention(in_band=in_band)
            run = dataclasses.replace(arrived, x=self._layer(index, arrived, attention))
            if watch is not None:
                watch(index, run.x, run.rows)
        return self._scores(self._arrive(self.band.exit_layer - 1, run))

    def _packed(self, batch: PairBatch) -> _Run:
        segments = [
            *batch.headers,
            *(segment for segment, _ in batch.firsts),
            *(segment for segment, _, _ in batch.seconds),
        ]
        starts = [0] * len(batch.headers)
        starts += [batch.headers[header].span for _, header in batch.firsts]
        starts += [start for _, _, start in batch.seconds]
        packed = self.packer.pack(segments, starts)
        return _Run(packed.x, packed.rope, packed.injections, Rows.below(batch))

    def _arrive(self, index: int, run: _Run) -> _Run:
        """The rows that layer ``index`` works on."""
        if index == (self.band.high if self.band.prefix_layers else 0):
            run = run.moved(*run.rows.leaving())
        if index == self.band.meeting_layer:
            run = run.moved(*run.rows.meeting())
        return run

    def _layer(self, index: int, run: _Run, attention: Attention) -> Tensor:
        layer = self.model.decoder.layer(index)

        def compute(x: Tensor) -> Tensor:
            return layer.finish(x, attention(layer.project(x, run.rope)))

        x: Tensor = (
            checkpoint(compute, run.x, use_reentrant=False) if self.recompute else compute(run.x)
        )
        return x + run.injections[index] if index < len(run.injections) else x

    def _scores(self, run: _Run) -> Tensor:
        """The last layer, for one token a pair, and the head."""
        index = self.band.exit_layer - 1
        layer = self.model.decoder.layer(index)
        ends = torch.from_numpy(run.rows.ends).to(run.x.device)
        heads = layer.project_some(run.x, run.rope, ends)
        in_band = index in self.band.prefix_layers
        attention = run.rows.last_attention(len(heads.q), run.x.device, in_band=in_band)
        x = layer.finish(pad_rows(run.x[ends]), attention(heads))
        return self.model.score(x[: len(ends)])
