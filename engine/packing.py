"""Segments to packed decoder input: ids embedded, visual features and positions in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minireranker.kernels.sending import sent
from minireranker.models.qwen3_vl import NormRope, Qwen3VL, pad_rows

from .draft import Segment
from .features import FeatureReader, joined
from .work import Meter


@dataclass(frozen=True, eq=False)
class Packed:
    """Segments behind one another, padded at the end to the decoder's row tile."""

    x: Tensor
    """[rows, hidden]: embedded, visual features in place."""
    positions: Tensor
    """[3, rows] int64, absolute."""
    rope: NormRope
    cu_seqlens: list[int]
    """Segments + 1; rows after the last are padding."""
    visual_rows: Tensor
    """[visual tokens] int64, ascending: their places in ``x``."""
    maps: tuple[Tensor, ...]
    """DeepStack maps by layer, [visual tokens, hidden]; empty without visuals."""

    @cached_property
    def injections(self) -> tuple[Tensor, ...]:
        """The maps as whole rows, [rows, hidden], zero outside visual rows."""
        whole = []
        for level in self.maps:
            injected = torch.zeros_like(self.x)
            injected[self.visual_rows] = level
            whole.append(injected)
        return tuple(whole)


class Packer:
    """Turns segments into packed decoder input for one model, within one call."""

    def __init__(self, model: Qwen3VL, features: FeatureReader, meter: Meter) -> None:
        """``meter`` counts what is read through it."""
        self.model, self.meter, self._features = model, meter, features

    def keep_features(self, segment: Segment) -> None:
        """Put the features of a second segment's visuals into the cache, ahead of any query."""
        if segment.visuals:
            self._features.of([segment], keep=True, durable=True)

    def pack(
        self, segments: Sequence[Segment], starts: Sequence[int], *, keep_features: bool = False
    ) -> Packed:
        """Pack ``segments``, each at its absolute position in ``starts``.

        A segment given several times (at different starts) is seen by the tower once.
        """
        device = self.model.device
        lengths = [len(segment) for segment in segments]
        cu_seqlens = [0, *np.cumsum(lengths).tolist()]
        ids = np.concatenate([segment.input_ids for segment in segments])
        places = [s.positions + start for s, start in zip(segments, starts, strict=True)]
        x = pad_rows(self.model.decoder.embed_tokens(sent(torch.from_numpy(ids), device)))
        packed = torch.from_numpy(np.concatenate(places, axis=1))
        positions = sent(F.pad(packed, (0, x.shape[0] - cu_seqlens[-1])), device)
        rows = np.concatenate(
            [s.visual_rows + at for s, at in zip(segments, cu_seqlens, strict=False)]
        )
        at = sent(torch.from_numpy(rows), device)
        maps = self._place_features(x, segments, at, keep_features=keep_features)
        rope = self.model.decoder.rope(positions)
        return Packed(x, positions, rope, cu_seqlens, at, maps)

    def _place_features(
        self, x: Tensor, segments: Sequence[Segment], rows: Tensor, *, keep_features: bool
    ) -> tuple[Tensor, ...]:
        """Write merged features into ``x``; return the DeepStack maps."""
        if not len(rows):
            return ()
        distinct = {id(s): s for s in segments if s.visuals}
        read = self._features.of(list(distinct.values()), keep=keep_features)
        features = dict(zip(distinct, read, strict=True))
        found = joined([features[id(s)] for s in segments if s.visuals])
        x[rows] = found.merged
        return found.deepstack
