"""What is worth keeping: a first segment's K/V, a second segment's state, visual features.

Every kind can be taken apart into named tensors and strings, and put together again: that is all a
file format needs to know of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from .codec import check_parts, decode_layer, encode
from .parts import Entry as Entry
from .parts import Parts

ENCODED_VALUES = 2**22
"""Of K or V at a time, beside whole layers: in float32, which a codec works in, 16 MiB."""


@dataclass(frozen=True, eq=False)
class KeptTokens:
    """Which visual tokens of one image or video are in an entry."""

    grid: tuple[int, int, int]
    """Frames, rows, columns of visual tokens before pruning."""
    indices: Tensor
    """[kept] int32, ascending, row-major in ``grid``; on the CPU, where they are read."""

    def __post_init__(self) -> None:
        """Raise ValueError for a grid that is none, or indices that are too many for it."""
        kept = self.indices
        if min(self.grid) < 1:
            raise ValueError(f"a grid of {self.grid}")
        if kept.dtype is not torch.int32 or kept.ndim != 1 or len(kept) > math.prod(self.grid):
            raise ValueError(f"{kept.dtype} {list(kept.shape)} tokens kept of {self.grid}")


@dataclass(frozen=True, eq=False)
class PrefixEntry(Parts):
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
        return cls(codec, _encoded(codec, k, v), k.dtype, span, tokens, tuple(visuals))

    def layer(self, at: int) -> tuple[Tensor, Tensor]:
        """K and V [tokens, kv_heads, head_dim] of band layer number ``at``, in ``dtype``."""
        return decode_layer(self.codec, self.parts, at, self.dtype)

    @cached_property
    def kept_layers(self) -> tuple[tuple[Tensor, ...], ...] | None:
        """Each band layer as it is kept, where that is K and V in ``dtype``, or codes with scales.

        Those are K, V, and the float32 scales they are multiplied by: int8 or float8_e4m3fn
        [tokens, kv_heads, head_dim], and [tokens or 1, kv_heads, head_dim or 1]. None where there
        is more to decoding, or no token. Views, made once: pairs by the thousand ask for them.
        """
        names: tuple[str, ...] = ("k", "v", "k_scale", "v_scale")
        if self.parts.keys() == {"k", "v"} and self.parts["k"].dtype is self.dtype:
            names = ("k", "v")
        if self.parts.keys() != set(names) or not self.tokens:
            return None
        return tuple(zip(*(self.parts[name].unbind() for name in names), strict=True))

    def tensors(self) -> dict[str, Tensor]:
        """The codec's parts, and ``visual.0`` ...: indices of the visual tokens kept."""
        return {**self.parts, **_numbered("visual", tuple(v.indices for v in self.visuals))}

    def numbers(self) -> dict[str, Tensor]:
        """The codec's parts."""
        return dict(self.parts)

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
class ChoiceEntry(Parts):
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
class FeatureEntry(Parts):
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
class SuffixEntry(Parts):
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


def _encoded(codec: str, k: Tensor, v: Tensor) -> dict[str, Tensor]:
    """``encode``, some layers at a time: a long document's would take several times its room."""
    layers = max(1, ENCODED_VALUES // max(1, k[:1].numel()))
    if codec == "exact" or layers >= k.shape[0]:
        return encode(codec, k, v)
    out: dict[str, Tensor] = {}
    for start in range(0, k.shape[0], layers):
        part = slice(start, start + layers)
        for name, tensor in encode(codec, k[part], v[part]).items():
            whole = out.setdefault(name, tensor.new_empty(k.shape[0], *tensor.shape[1:]))
            whole[part] = tensor
    return out


def _grid(text: str) -> tuple[int, int, int]:
    frames, rows, columns = map(int, text.split("x"))
    return frames, rows, columns


def _numbered(name: str, tensors: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    return {f"{name}.{at}": t for at, t in enumerate(tensors) if t is not None}
