"""Pairs through the band to the exit: the only work that is paid once a (query, document) pair.

Method, section 4. A batch packs the second segments of its pairs, ragged, each beside its own
first segment's K/V. In the first layer projections are taken once a second segment, not once a
pair; in the last, only the last token's query, attention and MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minireranker.cache import PrefixEntry, SuffixEntry
from minireranker.kernels.band_attention import Extent, band_attention
from minireranker.models.qwen3_vl import NormRope, Projected, Qwen3VL, pad_rows

from .prefix import Band, Header
from .work import Meter


@dataclass(frozen=True, eq=False)
class Pair:
    """A first segment's entry and a second segment's state; both may serve many pairs."""

    prefix: PrefixEntry
    suffix: SuffixEntry

    @property
    def tokens(self) -> int:
        """Rows the pair takes in a batch."""
        return self.suffix.x.shape[0]


def score_pairs(
    model: Qwen3VL,
    header: Header,
    pairs: Sequence[Pair],
    band: Band,
    *,
    batch_tokens: int,
    backend: str,
    meter: Meter,
    step: Callable[[int], None],
) -> Tensor:
    """Raw logit differences, float32 [pairs], on the CPU.

    ``batch_tokens`` bounds the rows of a batch (one pair may exceed it alone); no score depends on
    it. ``step`` is told the number of pairs of each batch done.
    """
    scores = []
    for batch in _batches(pairs, batch_tokens):
        scores.append(_Batch(model, header, batch, band, backend, meter).scores())
        step(len(batch))
    return torch.cat(scores).cpu() if scores else torch.empty(0)


def _batches(pairs: Sequence[Pair], batch_tokens: int) -> list[list[Pair]]:
    batches: list[list[Pair]] = []
    rows = 0
    for pair in pairs:
        if not batches or rows + pair.tokens > batch_tokens:
            batches.append([])
            rows = 0
        batches[-1].append(pair)
        rows += pair.tokens
    return batches


class _Batch:
    """One batch on its way up.

    Distinct second segments are packed once ("states"); ``_rows`` says which state row each pair
    row comes from, and ``_last`` where each pair's last token is among the pair rows.
    """

    def __init__(
        self,
        model: Qwen3VL,
        header: Header,
        pairs: Sequence[Pair],
        band: Band,
        backend: str,
        meter: Meter,
    ) -> None:
        self._model, self._header, self._pairs = model, header, pairs
        self._band, self._backend, self._meter = band, backend, meter
        device = model.device
        states = list({id(pair.suffix): pair.suffix for pair in pairs}.values())
        starts, total = {}, 0
        for state in states:
            starts[id(state)] = total
            total += state.x.shape[0]
        rows = [torch.arange(p.tokens) + starts[id(p.suffix)] for p in pairs]
        lengths = torch.tensor([0, *(p.tokens for p in pairs)])
        self._cu = lengths.cumsum(0).tolist()
        self._last = (lengths.cumsum(0)[1:] - 1).to(device)
        # Padding rows repeat state row 0: harmless, and every product keeps its row tile.
        self._rows = pad_rows(torch.cat(rows)[:, None])[:, 0].to(device)
        self._states = pad_rows(torch.cat([state.x for state in states]))
        positions = torch.cat([state.positions for state in states], dim=1)
        self._state_rope = model.decoder.rope(pad_rows(positions.T).T)
        self._injections = [
            pad_rows(torch.cat([_injection(state, level) for state in states]))
            if any(_has_injection(state, level) for state in states)
            else None
            for level in range(max(len(state.injections) for state in states))
        ]

    def scores(self) -> Tensor:
        """Float32 [pairs]."""
        first, exit_layer = self._band.meeting_layer, self._band.exit_layer
        self._meter.count(pair_token_layers=self._cu[-1] * (exit_layer - first))
        x, rope = self._states, self._state_rope
        for index in range(first, exit_layer):
            heads = self._project(index, x, rope, entering=index == first)
            if index == first:
                x, rope = x[self._rows], rope.rows(self._rows)
            if index == exit_layer - 1:
                x = pad_rows(x[self._last])
            x = self._model.decoder.layer(index).finish(x, self._attend(index, heads))
            # Not after the last layer: the last token is text, DeepStack adds nothing to it.
            if index < exit_layer - 1 and index < len(self._injections):
                injected = self._injections[index]
                x = x if injected is None else x + injected[self._rows]
        return self._model.score(x[: len(self._pairs)])

    def _project(self, index: int, x: Tensor, rope: NormRope, *, entering: bool) -> Projected:
        """Q, K, V of the pair rows; Q of the last tokens only in the last layer."""
        layer = self._model.decoder.layer(index)
        if index == self._band.exit_layer - 1:
            last = self._rows[self._last] if entering else self._last
            heads = layer.project_some(x, rope, last)
            if not entering:
                return heads
            return Projected(heads.q, heads.k[self._rows], heads.v[self._rows])
        heads = layer.project(x, rope)
        return Projected(*(part[self._rows] for part in heads)) if entering else heads

    def _attend(self, index: int, heads: Projected) -> Tensor:
        band = self._band.prefix_layers
        prefixes = None
        if index in band:
            prefixes = self._extents(index - band.start)
        is_last = index == self._band.exit_layer - 1
        return band_attention(
            *heads,
            cu_seqlens_q=list(range(len(self._pairs) + 1)) if is_last else self._cu,
            cu_seqlens_k=self._cu,
            header=self._header.layers[index],
            prefixes=prefixes,
            backend=self._backend,
        )

    def _extents(self, at: int) -> list[Extent]:
        """K and V of each pair's first segment in a band layer, decoded once a document."""
        distinct = {id(pair.prefix): pair.prefix for pair in self._pairs}
        decoded = {name: Extent(*prefix.layer(at)) for name, prefix in distinct.items()}
        return [decoded[id(pair.prefix)] for pair in self._pairs]


def _has_injection(state: SuffixEntry, level: int) -> bool:
    return level < len(state.injections) and state.injections[level] is not None


def _injection(state: SuffixEntry, level: int) -> Tensor:
    """The map of a level, zeros where a state has none."""
    found = state.injections[level] if level < len(state.injections) else None
    return torch.zeros_like(state.x) if found is None else found
