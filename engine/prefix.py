"""First segments to cache entries, and the header they all stand behind.

Method, section 4: the header through the exit, once per (model, instruction); a first segment
through the band's end only, where its last layer computes nothing but K and V.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minireranker.cache import KeptTokens, PrefixEntry
from minireranker.kernels.band_attention import Extent, band_attention
from minireranker.models.qwen3_vl import Projected

from .draft import Segment
from .packing import Packed, Packer
from .passes import passes
from .prefill import read_long

PASS_ROWS = 1_024
"""Tokens read at a time: enough for full-speed products, few enough to see progress. Reading a
document of any length takes, beside its entry, this many rows of the widest layer and a few numbers
a token (``read_long``)."""


@dataclass(frozen=True, eq=False)
class Header:
    """K and V of the header in every layer up to the exit; ``span`` is where A starts."""

    layers: tuple[Extent, ...]
    span: int

    @property
    def nbytes(self) -> int:
        """Bytes of K and V."""
        return sum(extent.k.nbytes + extent.v.nbytes for extent in self.layers)


@dataclass(frozen=True)
class Band:
    """Layers [low, high) in which the second segment sees the first, of ``exit_layer`` run."""

    low: int
    high: int
    exit_layer: int

    @property
    def prefix_layers(self) -> range:
        """Layers whose K and V of the first segment are kept."""
        return range(self.low, self.high) if self.low < self.high else range(0)

    @property
    def meeting_layer(self) -> int:
        """The first layer that is run per pair: the band's first, at the latest the last."""
        return min(self.low if self.low < self.high else self.exit_layer, self.exit_layer - 1)


def read_header(packer: Packer, segment: Segment, exit_layer: int, backend: str) -> Header:
    """The header's K and V in layers 0 .. exit_layer - 1."""
    packed = packer.pack([segment], [0])
    keep = range(exit_layer)
    layers = _keys_values(packer, packed, keep, None, backend)
    packer.meter.count(header_token_layers=len(segment) * exit_layer)
    size = len(segment)
    extents = tuple(Extent(k[:size].clone(), v[:size].clone()) for k, v in layers)
    return Header(extents, segment.span)


def read_prefixes(
    packer: Packer,
    header: Header,
    segments: Sequence[Segment],
    band: Band,
    backend: str,
    codec: str,
    rows: int = PASS_ROWS,
) -> list[PrefixEntry]:
    """One cache entry a first segment.

    Short ones are packed up to ``rows`` tokens a pass; a longer one is read alone, so many at a
    time (a multiple of the decoder's row tile). Which it is depends on the segment alone.
    """
    config = packer.model.config.text
    depth = len(band.prefix_layers)
    heads = (config.num_key_value_heads, config.head_dim)
    like = packer.model.decoder.norm.weight
    entries = []
    for group in passes(segments, len, rows):
        shapes = [(depth, len(segment) if depth else 0, *heads) for segment in group]
        kept = [(like.new_empty(shape), like.new_empty(shape)) for shape in shapes]
        layers = band.prefix_layers
        if depth and len(group[0]) > rows:
            read_long(packer, header, group[0], layers, kept[0], rows=rows, backend=backend)
        elif depth:
            _read_packed(packer, header, group, layers, kept, backend)
        entries += [
            PrefixEntry.encoded(
                codec, k, v, span=segment.span, tokens=len(segment), visuals=kept_visuals(segment)
            )
            for segment, (k, v) in zip(group, kept, strict=True)
        ]
    if depth:
        packer.meter.count(prefix_token_layers=sum(map(len, segments)) * band.high)
    return entries


def _read_packed(
    packer: Packer,
    header: Header,
    segments: Sequence[Segment],
    layers: range,
    kept: Sequence[tuple[Tensor, Tensor]],
    backend: str,
) -> None:
    """Fill each segment's K and V, [layers, tokens, kv_heads, head_dim], in one pass."""
    packed = packer.pack(segments, [header.span] * len(segments))
    for at, (keys, values) in enumerate(_keys_values(packer, packed, layers, header, backend)):
        for row, (k, v) in enumerate(kept):
            part = slice(packed.cu_seqlens[row], packed.cu_seqlens[row + 1])
            k[at].copy_(keys[part])
            v[at].copy_(values[part])


def kept_visuals(segment: Segment) -> list[KeptTokens]:
    """What a segment keeps of each of its visuals."""
    return [
        KeptTokens(visual.token_grid, torch.from_numpy(kept.astype(np.int32)))
        for visual, kept in zip(segment.visuals, segment.kept, strict=True)
    ]


def _keys_values(
    packer: Packer, packed: Packed, keep: range, header: Header | None, backend: str
) -> list[tuple[Tensor, Tensor]]:
    """K and V [rows, kv_heads, head_dim] of the layers in ``keep``, running up to its last."""
    kept: list[tuple[Tensor, Tensor]] = []
    decoder = packer.model.decoder

    def attend(layer: int, heads: Projected) -> Tensor:
        if layer in keep:
            kept.append((heads.k, heads.v))
        return band_attention(
            *heads,
            cu_seqlens_q=packed.cu_seqlens,
            cu_seqlens_k=packed.cu_seqlens,
            header=header.layers[layer] if header else None,
            backend=backend,
        )

    last = keep[-1]
    x = decoder.run(packed.x, packed.rope, range(last), attend, packed.injections)
    kept.append(decoder.layer(last).keys_values(x, packed.rope))
    return kept
