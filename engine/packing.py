"""Segments to packed decoder input: pixels through the tower, ids embedded, positions placed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minireranker.models.qwen3_vl import NormRope, Qwen3VL, VisionFeatures, pad_rows

from .pixels import TEMPORAL, Visual
from .prompt import Segment
from .work import Meter

PATCH_BUDGET = 8_192
"""Patches a tower call: bounds its activations; a video of more goes alone, frames at a time."""


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
    injections: tuple[Tensor, ...]
    """DeepStack maps by layer, [rows, hidden], zero outside visual rows; empty without visuals."""


class Packer:
    """Turns segments into packed decoder input for one model."""

    def __init__(
        self, model: Qwen3VL, pixel_mean: Sequence[float], pixel_std: Sequence[float], meter: Meter
    ) -> None:
        """``pixel_mean``, ``pixel_std``: the checkpoint's normalisation, three numbers each."""
        self.model, self.meter = model, meter
        self._mean, self._std = tuple(pixel_mean), tuple(pixel_std)

    def pack(self, segments: Sequence[Segment], starts: Sequence[int]) -> Packed:
        """Pack ``segments``, each at its absolute position in ``starts``.

        A segment given several times (at different starts) is seen by the tower once.
        """
        device = self.model.device
        lengths = [len(segment) for segment in segments]
        cu_seqlens = [0, *np.cumsum(lengths).tolist()]
        ids = np.concatenate([segment.input_ids for segment in segments])
        places = [s.positions + start for s, start in zip(segments, starts, strict=True)]
        x = pad_rows(self.model.decoder.embed_tokens(torch.from_numpy(ids).to(device)))
        packed = torch.from_numpy(np.concatenate(places, axis=1))
        positions = F.pad(packed, (0, x.shape[0] - cu_seqlens[-1])).to(device)
        rows = np.concatenate(
            [s.visual_rows + at for s, at in zip(segments, cu_seqlens, strict=False)]
        )
        injections = self._place_features(x, segments, torch.from_numpy(rows).to(device))
        rope = self.model.decoder.rope(positions)
        return Packed(x, positions, rope, cu_seqlens, injections)

    def _place_features(
        self, x: Tensor, segments: Sequence[Segment], rows: Tensor
    ) -> tuple[Tensor, ...]:
        """Write merged features into ``x``; return the DeepStack maps as whole rows."""
        if not len(rows):
            return ()
        distinct = {id(s): s for s in segments if s.visuals}
        features = dict(zip(distinct, self._features(list(distinct.values())), strict=True))
        found = [features[id(s)] for s in segments if s.visuals]
        x[rows] = torch.cat([item.merged for item in found])
        maps = []
        for level in range(len(found[0].deepstack)):
            injected = torch.zeros_like(x)
            injected[rows] = torch.cat([item.deepstack[level] for item in found])
            maps.append(injected)
        return tuple(maps)

    def _features(self, segments: Sequence[Segment]) -> list[VisionFeatures]:
        """Kept visual tokens of each segment, all its visuals in order."""
        pieces = [piece for s in segments for visual in s.visuals for piece in _pieces(visual)]
        encoded = iter([f for group in _grouped(pieces) for f in self._encode(group)])
        out = []
        for segment in segments:
            kept = []
            for visual, keep in zip(segment.visuals, segment.kept, strict=True):
                whole = _joined([next(encoded) for _ in _pieces(visual)])
                index = torch.from_numpy(keep).to(self.model.device)
                kept.append(
                    VisionFeatures(whole.merged[index], tuple(m[index] for m in whole.deepstack))
                )
            out.append(_joined(kept))
        return out

    def _encode(self, visuals: Sequence[Visual]) -> list[VisionFeatures]:
        """The tower over a few visuals at once."""
        patches = np.concatenate([v.patches(self._mean, self._std) for v in visuals])
        self.meter.count(vision_patches=len(patches))
        pixels = torch.from_numpy(patches).to(self.model.device, self.model.dtype)
        features = self.model.vision(pixels, [v.grid for v in visuals])
        sizes = [v.tokens for v in visuals]
        maps = [level.split(sizes) for level in features.deepstack]
        return [
            VisionFeatures(merged, tuple(level[i] for level in maps))
            for i, merged in enumerate(features.merged.split(sizes))
        ]


def _pieces(visual: Visual) -> list[Visual]:
    """A visual as parts of at most the patch budget: frames see only themselves in the tower."""
    frames, height, width = visual.grid
    step = max(1, PATCH_BUDGET // (height * width))
    if frames <= step:
        return [visual]
    return [
        dataclasses.replace(
            visual,
            frames=visual.frames[TEMPORAL * start : TEMPORAL * (start + step)],
            timestamps=visual.timestamps[start : start + step],
        )
        for start in range(0, frames, step)
    ]


def _grouped(visuals: Iterable[Visual]) -> list[list[Visual]]:
    """Neighbours together while they fit the patch budget."""
    groups: list[list[Visual]] = []
    patches = 0
    for visual in visuals:
        size = visual.tokens * 4
        if not groups or patches + size > PATCH_BUDGET:
            groups.append([])
            patches = 0
        groups[-1].append(visual)
        patches += size
    return groups


def _joined(parts: Sequence[VisionFeatures]) -> VisionFeatures:
    if len(parts) == 1:
        return parts[0]
    levels = zip(*(part.deepstack for part in parts), strict=True)
    return VisionFeatures(
        torch.cat([part.merged for part in parts]), tuple(torch.cat(level) for level in levels)
    )
