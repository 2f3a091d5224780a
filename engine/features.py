"""Pixels through the vision tower, and which of their features are worth keeping.

A first segment's features end in its entry's K/V, so they are not kept. A second segment is read
again for every start position and every query: its features are, under the visual's own digest.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from minireranker.cache import Cache, FeatureEntry, Namespace
from minireranker.models.qwen3_vl import Qwen3VL

from .draft import Segment
from .pixels import TEMPORAL, Visual
from .work import Meter

PATCH_BUDGET = 8_192
"""Patches a tower call: bounds its activations. A frame of more goes alone."""

Kept: TypeAlias = tuple[Visual, NDArray[np.int64]]


class FeatureReader:
    """Visual tokens of segments for one model, through the cache where asked to."""

    def __init__(
        self,
        model: Qwen3VL,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        meter: Meter,
        kept: tuple[Cache, Namespace] | None = None,
    ) -> None:
        """``pixel_mean``, ``pixel_std``: the checkpoint's normalisation, three numbers each.

        ``kept``: where features asked to be kept go; None: nothing is kept.
        """
        self._model, self._meter, self._kept = model, meter, kept
        self._mean, self._std = tuple(pixel_mean), tuple(pixel_std)

    def of(
        self, segments: Sequence[Segment], *, keep: bool, durable: bool = False
    ) -> list[FeatureEntry]:
        """Kept visual tokens of each segment, all its visuals in order.

        ``keep``: through the cache; ``durable``: to outlive the process as well.
        """
        wanted = [part for s in segments for part in zip(s.visuals, s.kept, strict=True)]
        if keep and self._kept is not None:
            found = iter(self._through_cache(wanted, *self._kept, durable=durable))
        else:
            found = iter(self._read(wanted))
        return [_joined([next(found) for _ in s.visuals]) for s in segments]

    def _through_cache(
        self, wanted: Sequence[Kept], cache: Cache, namespace: Namespace, *, durable: bool
    ) -> list[FeatureEntry]:
        keys = [_key(namespace, *part) for part in wanted]
        found: dict[str, FeatureEntry | None] = {
            key: cache.get(key, FeatureEntry, self._model.device) for key in keys
        }
        missing = {key: part for key, part in zip(keys, wanted, strict=True) if found[key] is None}
        self._meter.count(cache_hits=len(found) - len(missing), cache_misses=len(missing))
        read = dict(zip(missing, self._read(list(missing.values())), strict=True))
        entries = {key: found[key] or read[key] for key in keys}
        for key, entry in entries.items() if durable else read.items():
            cache.put(key, entry, durable=durable)
        return [entries[key] for key in keys]

    def _read(self, wanted: Sequence[Kept]) -> list[FeatureEntry]:
        """The tower over many visuals, in groups of the patch budget."""
        pieces = [piece for visual, _ in wanted for piece in _pieces(visual)]
        encoded = iter([f for group in _grouped(pieces) for f in self._encode(group)])
        out = []
        for visual, kept in wanted:
            whole = _joined([next(encoded) for _ in _pieces(visual)])
            index = torch.from_numpy(kept).to(self._model.device)
            maps = tuple(level[index] for level in whole.deepstack)
            out.append(FeatureEntry(whole.merged[index], maps))
        return out

    def _encode(self, visuals: Sequence[Visual]) -> list[FeatureEntry]:
        """The tower over a few visuals at once."""
        patches = np.concatenate([v.patches(self._mean, self._std) for v in visuals])
        self._meter.count(vision_patches=len(patches))
        pixels = torch.from_numpy(patches).to(self._model.device, self._model.dtype)
        features = self._model.vision(pixels, [v.grid for v in visuals])
        sizes = [v.tokens for v in visuals]
        maps = [level.split(sizes) for level in features.deepstack]
        return [
            FeatureEntry(merged, tuple(level[i] for level in maps))
            for i, merged in enumerate(features.merged.split(sizes))
        ]


def _key(namespace: Namespace, visual: Visual, kept: NDArray[np.int64]) -> str:
    return namespace.key(
        {
            "kind": FeatureEntry.__name__,
            "visual": visual.digest(),
            "kept": hashlib.sha256(kept.tobytes()).digest(),
        }
    )


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


def _grouped(visuals: Sequence[Visual]) -> list[list[Visual]]:
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


def _joined(parts: Sequence[FeatureEntry]) -> FeatureEntry:
    if len(parts) == 1:
        return parts[0]
    levels = zip(*(part.deepstack for part in parts), strict=True)
    return FeatureEntry(
        torch.cat([part.merged for part in parts]), tuple(torch.cat(level) for level in levels)
    )
