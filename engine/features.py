"""Pixels through the vision tower, and which of their features are worth keeping.

A first segment's features end in its entry's K/V, so they are not kept. A second segment is read
again for every start position and every query: its features are, under the visual's own digest.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from minireranker.cache import Cache, FeatureEntry, Namespace
from minireranker.kernels.sending import sent
from minireranker.models.qwen3_vl import Qwen3VL

from .draft import Segment
from .passes import passes
from .pixels import TEMPORAL, Visual
from .work import Meter

PATCH_BUDGET = 8_192
"""Patches a tower call: bounds its activations. A frame of more goes alone, in pieces of as many
but for attention."""

Kept: TypeAlias = tuple[Visual, NDArray[np.int64]]
"""Of a visual, the tokens that are kept, ascending."""


class _Piece(NamedTuple):
    """Frames of a visual that go through the tower together."""

    of: int
    """Which visual."""
    visual: Visual
    """Those frames."""
    kept: NDArray[np.int64]
    """The tokens kept of them, counted from their first."""


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
        return [joined([next(found) for _ in s.visuals]) for s in segments]

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
        """The tower over many visuals, in groups of the patch budget.

        Besides what is kept, no more is held at a time than the features of one group.
        """
        entries = [self._room(len(kept)) for _, kept in wanted]
        filled = [0] * len(wanted)
        pieces = [_Piece(at, *part) for at, whole in enumerate(wanted) for part in _pieces(*whole)]
        for group in passes(pieces, lambda piece: piece.visual.tokens * 4, PATCH_BUDGET):
            for piece, features in zip(group, self._encode(group), strict=True):
                start = filled[piece.of]
                filled[piece.of] = stop = start + len(piece.kept)
                index = sent(torch.from_numpy(piece.kept), self._model.device)
                tensors = features.tensors()
                for name, room in entries[piece.of].tensors().items():
                    room[start:stop] = tensors[name][index]
        return entries

    def _room(self, tokens: int) -> FeatureEntry:
        """For the features of so many visual tokens."""
        vision, like = self._model.config.vision, self._model.decoder.norm.weight
        levels = (None, *vision.deepstack_visual_indexes)
        merged, *maps = (like.new_empty(tokens, vision.out_hidden_size) for _ in levels)
        return FeatureEntry(merged, tuple(maps))

    def _encode(self, pieces: Sequence[_Piece]) -> list[FeatureEntry]:
        """The tower over a few pieces at once: all their visual tokens."""
        visuals = [piece.visual for piece in pieces]
        patches = np.concatenate([v.patches(self._mean, self._std) for v in visuals])
        self._meter.count(vision_patches=len(patches))
        pixels = sent(torch.from_numpy(patches).to(self._model.dtype), self._model.device)
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


def _pieces(visual: Visual, kept: NDArray[np.int64]) -> list[Kept]:
    """A visual as parts of at most the patch budget: frames see only themselves in the tower."""
    frames, height, width = visual.grid
    step = max(1, PATCH_BUDGET // (height * width))
    if frames <= step:
        return [(visual, kept)]
    tokens = visual.tokens // frames
    parts = []
    for start in range(0, frames, step):
        part = dataclasses.replace(
            visual,
            frames=visual.frames[TEMPORAL * start : TEMPORAL * (start + step)],
            timestamps=visual.timestamps[start : start + step],
        )
        first, last = np.searchsorted(kept, (start * tokens, (start + step) * tokens))
        parts.append((part, kept[first:last] - start * tokens))
    return parts


def joined(parts: Sequence[FeatureEntry]) -> FeatureEntry:
    """Several entries' tokens behind one another."""
    if len(parts) == 1:
        return parts[0]
    levels = zip(*(part.deepstack for part in parts), strict=True)
    return FeatureEntry(
        torch.cat([part.merged for part in parts]), tuple(torch.cat(level) for level in levels)
    )
