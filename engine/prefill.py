"""One long first segment to its K and V: some rows at a time, in bounded memory.

Layer by layer, and within a layer from front to back: a piece's rows need the keys of those before
them in the same layer only. So what grows with the document is its hidden states, the K and V of
one layer, once more where a backend joins them with the header's, its visual features until the
last DeepStack layer, and the entry itself; projections and MLP never take more than a piece.

Second segments are not read so: in the band all rows of a pair are computed together, which takes
as much as reading them below it in one go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from minireranker.kernels.band_attention import band_attention
from minireranker.models.qwen3_vl import NormRope, Projected

from .draft import Segment
from .packing import Packer

if TYPE_CHECKING:
    from .prefix import Header


def read_long(
    packer: Packer,
    header: Header,
    segment: Segment,
    layers: range,
    kept: tuple[Tensor, Tensor],
    *,
    rows: int,
    backend: str,
) -> None:
    """Fill ``kept``: K and V [layers, tokens, kv_heads, head_dim] of a segment behind ``header``.

    ``layers``: which those are. ``rows``: of a piece, a multiple of the decoder's row tile; the
    last may be shorter.
    """
    reading = _Reading(packer, segment, header.span, rows)
    spare = [torch.empty_like(part[0]) for part in kept] if layers.start else []
    for index in range(layers[-1]):
        k, v = (part[index - layers.start] for part in kept) if index in layers else spare
        for piece in reading.pieces:
            heads = reading.project(index, piece)
            piece.keep(heads.k, heads.v, k, v)
            attended = band_attention(
                heads.q,
                k[: piece.seen],
                v[: piece.seen],
                cu_seqlens_q=[0, piece.tokens],
                cu_seqlens_k=[0, piece.seen],
                header=header.layers[index],
                backend=backend,
            )
            reading.finish(index, piece, attended)
        reading.maps.pop(index, None)
    for piece in reading.pieces:
        piece.keep(*reading.keys_values(layers[-1], piece), kept[0][-1], kept[1][-1])


@dataclass(frozen=True, eq=False)
class _Piece:
    """Rows ``[start, stop)`` of a segment's, of which ``tokens`` are none of the padding."""

    start: int
    stop: int
    tokens: int
    rope: NormRope
    visual: slice
    """Which of the segment's visual tokens are in it."""

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def seen(self) -> int:
        """Tokens up to its end."""
        return self.start + self.tokens

    def keep(self, keys: Tensor, values: Tensor, k: Tensor, v: Tensor) -> None:
        """Write its keys and values to their places among those of all tokens."""
        k[self.start : self.seen] = keys[: self.tokens]
        v[self.start : self.seen] = values[: self.tokens]


class _Reading:
    """The hidden states of one segment, on their way up; ``maps``: DeepStack's still to come."""

    def __init__(self, packer: Packer, segment: Segment, start: int, rows: int) -> None:
        packed = packer.pack([segment], [start])
        self._decoder, self._x = packer.model.decoder, packed.x
        self._visual_rows = packed.visual_rows
        self.maps = dict(enumerate(packed.maps))
        self.pieces = []
        for first in range(0, len(segment), rows):
            stop = min(first + rows, len(packed.x))
            rope = packed.rope.rows(slice(first, stop))
            visual = slice(*np.searchsorted(segment.visual_rows, (first, stop)).tolist())
            self.pieces.append(_Piece(first, stop, min(stop, len(segment)) - first, rope, visual))

    def project(self, index: int, piece: _Piece) -> Projected:
        return self._decoder.layer(index).project(self._x[piece.rows], piece.rope)

    def keys_values(self, index: int, piece: _Piece) -> tuple[Tensor, Tensor]:
        return self._decoder.layer(index).keys_values(self._x[piece.rows], piece.rope)

    def finish(self, index: int, piece: _Piece, attended: Tensor) -> None:
        """Put the layer's output in the place of its input."""
        out = self._decoder.layer(index).finish(self._x[piece.rows], attended)
        if index in self.maps:
            at = self._visual_rows[piece.visual] - piece.start
            out[at] += self.maps[index][piece.visual]
        self._x[piece.rows] = out
