"""What is worth keeping: a first segment's K/V, a second segment's state, visual features.

Every kind can be taken apart into named tensors and strings, and put together again: that is all a
file format needs to know of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from .codec import check_parts, decode_layer, encode


class Entry(Protocol):
    """What a cache keeps."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""

    def fields(self) -> dict[str, str]:
        """Everything else, as strings."""

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, str]) -> Self:
        """What ``tensors`` and ``fields`` gave. Raises KeyError or ValueError for anything else."""

    def to(self, device: torch.device) -> Self:
        """The same on another device; itself if it is there."""


class _Parts:
    """What all kinds share, given ``tensors``, ``fields`` and ``restore``."""

    def tensors(self) -> dict[str, Tensor]:
        raise NotImplementedError

    def fields(self) -> dict[str, str]:
        """Everything else, as strings."""
        return {}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, str]) -> Self:
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def to(self, device: torch.device) -> Self:
        """The same on another device; itself if it is there."""
        tensors = self.tensors()
        if all(tensor.device == device for tensor in tensors.values()):
            return self
        moved = {name: t.to(device, non_blocking=True) for name, t in tensors.items()}
        return self.restore(moved, self.fields())


@dataclass(frozen=True, eq=False)
class KeptTokens:
    """Which visual tokens of one image or video are in an entry."""

    grid: tuple[int, int, int]
    """Frames, rows, columns of visual tokens before pruning."""
    indices: Tensor
    """[kept] int32, ascending, row-major in ``grid``."""

    def __post_init__(self) -> None:
        """Raise ValueError for a grid that is none, or indices that are too many for it."""
        kept = self.indices
        if min(self.grid) < 1:
            raise ValueError(f"a grid of {self.grid}")
        if kept.dtype is not torch.int32 or kept.ndim != 1 or len(kept) > math.prod(self.grid):
            raise ValueError(f"{kept.dtype} {list(kept.shape)} tokens kept of {self.grid}")


@dataclass(frozen=True, eq=False)
class PrefixEntry(_Parts):
    """A first segment, read through the band's end: what any second segment may attend to."""

    codec: str
    parts: Mapping[str, Tensor]
    """K and V of the band layers as the codec left them; dim 0 of every part is the layer."""
    dtype: torch.dtype
    """What they decode to: the model's."""
    span: int
    """How far the second segment's positions are moved (that of the unpruned segment)."""
    tokens: int
    """Tokens after pruning; known also when the band, and so K/V, is empty."""
    visuals: tuple[KeptTokens, ...] = ()
    """What is kept of each video, then image."""

    @classmethod
    def encoded(
        cls,
        codec: str,
        k: Tensor,
        v: Tensor,
        *,
        span: int,
        tokens: int,
        visuals: Sequence[KeptTokens] = (),
    ) -> Self:
        """From K and V [band layers, tokens, kv_heads, head_dim], normed and rotated.

        Scores are computed from what comes out of the codec, also right after reading: a score must
        not depend on whether its document was cached.
        """
        return cls(codec, encode(codec, k, v), k.dtype, span, tokens, tuple(visuals))

    def layer(self, at: int) -> tuple[Tensor, Tensor]:
        """K and V [tokens, kv_heads, head_dim] of band layer number ``at``, in ``dtype``."""
        return decode_layer(self.codec, self.parts, at, self.dtype)

    def tensors(self) -> dict[str, Tensor]:
        """The codec's parts, and ``visual.0`` ...: indices of the visual tokens kept."""
        return {**self.parts, **_numbered("visual", tuple(v.indices for v in self.visuals))}

    def fields(self) -> dict[str, str]:
        """Codec, dtype, span, tokens, and the grids of the visuals (``1x16x20 ...``)."""
        dtype = str(self.dtype).removeprefix("torch.")
        return {
            "codec": self.codec,
            "dtype": dtype,
            "span": str(self.span),
            "tokens": str(self.tokens),
            "grids": " ".join("x".join(map(str, visual.grid)) for visual in self.visuals),
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, str]) -> Self:
        """From ``tensors()`` and ``fields()``."""
        dtype = getattr(torch, fields["dtype"], None)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise ValueError(f"unknown dtype {fields['dtype']!r}")
        span, tokens = int(fields["span"]), int(fields["tokens"])
        parts = {name: t for name, t in tensors.items() if not name.startswith("visual.")}
        check_parts(fields["codec"], parts, tokens)
        visuals = tuple(
            KeptTokens(_grid(grid), tensors[f"visual.{at}"])
            for at, grid in enumerate(fields["grids"].split())
        )
        return cls(fields["codec"], parts, dtype, span, tokens, visuals)


@dataclass(frozen=True, eq=False)
class ChoiceEntry(_Parts):
    """Which visual tokens an embedder chose: all that is needed to name a document's entry."""

    indices: tuple[Tensor, ...]
    """For each visual, [kept] int32, ascending; on the CPU."""

    def tensors(self) -> dict[str, Tensor]:
        """``visual.0`` ..."""
        return _numbered("visual", self.indices)

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, str]) -> Self:
        """From ``tensors()``."""
        indices = tuple(tensors[f"visual.{at}"] for at in range(len(tensors)))
        if any(kept.dtype is not torch.int32 or kept.ndim != 1 for kept in indices):
            raise ValueError("indices are not int32 [kept]")
        return cls(indices)


@dataclass(frozen=True, eq=False)
class FeatureEntry(_Parts):
    """Visual tokens as the tower gives them: the input of the decoder, [tokens, hidden]."""

    merged: Tensor
    deepstack: tuple[Tensor, ...]
    """One map a DeepStack level, same shape."""

    def tensors(self) -> dict[str, Tensor]:
        """``merged`` and ``deepstack.0`` ..."""
        return {"merged": self.merged, **_numbered("deepstack", self.deepstack)}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, str]) -> Self:
        """From ``tensors()``."""
        levels = len(tensors) - 1
        return cls(tensors["merged"], tuple(tensors[f"deepstack.{i}"] for i in range(levels)))


@dataclass(frozen=True, eq=False)
class SuffixEntry(_Parts):
    """A second segment, read up to the layer where it meets the first."""

    x: Tensor
    """[tokens, hidden]: hidden states entering that layer."""
    positions: Tensor
    """[3, tokens] int64, absolute: they depend on the first segment's span."""
    injections: tuple[Tensor | None, ...]
    """DeepStack maps still to come, by layer, [tokens, hidden] or None."""

    def tensors(self) -> dict[str, Tensor]:
        """``x``, ``positions``, and the injections there are, by layer."""
        maps = _numbered("injection", self.injections)
        return {"x": self.x, "positions": self.positions, **maps}

    def fields(self) -> dict[str, str]:
        """For how many layers there could be an injection."""
        return {"layers": str(len(self.injections))}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, str]) -> Self:
        """From ``tensors()`` and ``fields()``."""
        maps = tuple(tensors.get(f"injection.{i}") for i in range(int(fields["layers"])))
        return cls(tensors["x"], tensors["positions"], maps)


def _grid(text: str) -> tuple[int, int, int]:
    frames, rows, columns = map(int, text.split("x"))
    return frames, rows, columns


def _numbered(name: str, tensors: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    return {f"{name}.{at}": t for at, t in enumerate(tensors) if t is not None}
