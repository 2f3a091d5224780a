"""A batch under many bands at once: what is blocked is B's sight of A, so A is read only once.

Scores are those of ``PairForward`` under each band (a test holds both to the engine's); that would
read every first segment again for every band, and first segments are nearly all of a batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.engine.packing import Packed, Packer
from minireranker.engine.prefix import Band
from minireranker.models.qwen3_vl import NormRope, Projected, Qwen3VL, pad_rows
from minireranker.train.attention import Attention, Meeting, causal
from minireranker.train.batch import PairBatch

_NOTHING = np.empty(0, np.int64)
_Rows = NDArray[np.int64]

KEYS_PER_ROW = 4
"""Bounds a pass: rows of K gathered for attention, as a multiple of the batch's own budget."""


@dataclass(frozen=True, eq=False)
class Front:
    """K and V [rows, kv_heads, head_dim] of headers and first segments, in every layer."""

    layers: list[tuple[Tensor, Tensor]]
    headers: list[_Rows]
    firsts: list[_Rows]

    @property
    def rows(self) -> int:
        """Of K, padding included."""
        return self.layers[0][0].shape[0]


def read_front(model: Qwen3VL, packer: Packer, batch: PairBatch, exit_layer: int) -> Front:
    """Headers and first segments through the layers up to the exit."""
    segments = [*batch.headers, *(first for first, _ in batch.firsts)]
    starts = [0] * len(batch.headers)
    starts += [batch.headers[header].span for _, header in batch.firsts]
    packed = packer.pack(segments, starts)
    parts = _parts(packed)
    headers, firsts = parts[: len(batch.headers)], parts[len(batch.headers) :]
    behind = [
        causal(rows, headers[header])
        for rows, (_, header) in zip(firsts, batch.firsts, strict=True)
    ]
    alone = [causal(rows, _NOTHING) for rows in headers]
    attention = Attention([alone, behind], len(packed.x), packed.x.device)
    kept: list[tuple[Tensor, Tensor]] = []

    def attend(index: int, heads: Projected) -> Tensor:
        kept.append((heads.k, heads.v))
        return attention(heads)

    last = exit_layer - 1
    x = model.decoder.run(packed.x, packed.rope, range(last), attend, packed.injections)
    kept.append(model.decoder.layer(last).keys_values(x, packed.rope))
    return Front(kept, headers, firsts)


@dataclass(frozen=True, eq=False)
class Pathways:
    """Second segments of a batch, before the first segments they meet."""

    model: Qwen3VL
    batch: PairBatch
    front: Front
    seconds: Packed

    @classmethod
    def of(cls, model: Qwen3VL, packer: Packer, batch: PairBatch, exit_layer: int) -> Pathways:
        """Read a batch once, for bands of that exit."""
        front = read_front(model, packer, batch, exit_layer)
        starts = [start for _, _, start in batch.seconds]
        packed = packer.pack([second for second, _, _ in batch.seconds], starts)
        return cls(model, batch, front, packed)

    def lens(self, bands: Sequence[Band], budget: int) -> Tensor:
        """Scores [bands, exits, pairs] behind every layer; ``budget``: tokens of a pass."""
        rows = sum(len(self._before(pair, sees=True)) for pair in range(len(self.batch.pairs)))
        step = max(1, KEYS_PER_ROW * budget // max(rows, 1))
        parts = [self._lens(bands[at : at + step]) for at in range(0, len(bands), step)]
        return torch.cat(parts)

    def _lens(self, bands: Sequence[Band]) -> Tensor:
        places = _parts(self.seconds)
        copies = [places[second] for _ in bands for _, second in self.batch.pairs]
        ends = np.cumsum([0, *map(len, copies)])
        rows = [np.arange(low, high) for low, high in pairwise(ends)]
        index = torch.from_numpy(np.concatenate(copies)).to(self.seconds.x.device)
        index = pad_rows(index[:, None])[:, 0]
        x, rope = self.seconds.x[index], self.seconds.rope.rows(index)
        injections = [level[index] for level in self.seconds.injections]
        last = torch.from_numpy(ends[1:] - 1).to(x.device)
        scores = []
        for layer, kept in enumerate(self.front.layers):
            attention = self._attention(layer, bands, rows, x)
            x = self._layer(layer, x, rope, kept, attention)
            if layer < len(injections):
                x = x + injections[layer]
            scores.append(self.model.score(x[last]).view(len(bands), -1))
        return torch.stack(scores, dim=1)

    def _layer(
        self, layer: int, x: Tensor, rope: NormRope, kept: tuple[Tensor, Tensor], see: Attention
    ) -> Tensor:
        decoder = self.model.decoder.layer(layer)
        heads = decoder.project(x, rope)
        k, v = (torch.cat(part) for part in zip(kept, heads[1:], strict=True))
        return decoder.finish(x, see(Projected(heads.q, k, v)))

    def _attention(
        self, layer: int, bands: Sequence[Band], rows: Sequence[_Rows], x: Tensor
    ) -> Attention:
        """Rows of K are the front's, then these."""
        groups: dict[bool, list[Meeting]] = {False: [], True: []}
        pairs = len(self.batch.pairs)
        for number, own in enumerate(rows):
            sees = layer in bands[number // pairs].prefix_layers
            before = self._before(number % pairs, sees=sees)
            keys = np.concatenate((before, self.front.rows + own))
            groups[sees].append(dataclasses.replace(causal(own, before), keys=keys))
        return Attention(list(groups.values()), len(x), x.device)

    def _before(self, pair: int, *, sees: bool) -> _Rows:
        first = self.batch.pairs[pair][0]
        header = self.front.headers[self.batch.firsts[first][1]]
        return np.concatenate((header, self.front.firsts[first])) if sees else header


def _parts(packed: Packed) -> list[_Rows]:
    return [np.arange(low, high) for low, high in pairwise(packed.cu_seqlens)]
