"""How K or V can be kept: as numbers of some dtype, as scaled codes, as four bits a value.

Everything is float32 arithmetic on one value at a time, and maxima: no sum whose order or fused
rounding could differ. So a form's bytes are the same on every device, and a layer's bytes depend on
that layer alone. Scales are rounded to what is stored before anything is divided by them, and never
upwards: the outermost code stands for a value inside the range of those that were there, so that
decoding cannot overflow. NaN and infinity are not kept as such, but poison their group's scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .grouping import Grouping, piece_count

Layout = dict[str, tuple[tuple[int, ...], torch.dtype | None]]
"""Shape and dtype of every part; None: whatever K's is."""

SHY = 1 - 2**-20
"""Keeps a scale from being rounded above what it should be."""
FLOOR = 2.0**-110
"""A smaller scale is stored as zero, and its group decodes to zero (or to its centre): subnormal
numbers have few digits, and some processors flush them."""
LAST = 15
MIDDLE = LAST / 2
"""Four bits count from 0 to LAST; the centre of a group lies at MIDDLE."""
WIDEST = 2.2e37
"""LAST times this is still finite in float32. Groups that need a longer step saturate."""
E4M3_TO_FLOAT16 = 256
NIBBLE = 0x0F0F0F0F0F0F0F0F


class Form(Protocol):
    """One way to keep a tensor [layers, tokens, kv_heads, head_dim]; parts go by suffix."""

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        """Its parts, dim 0 of each the layer, contiguous."""

    def decode(self, parts: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        """One layer [tokens, kv_heads, head_dim] from that layer's parts."""

    def layout(self, layers: int, tokens: int, heads: int, width: int) -> Layout:
        """What the parts must look like; ``width`` is the last dimension of the first part."""


@dataclass(frozen=True)
class Plain:
    """Numbers of ``dtype``; None: of the dtype they came in."""

    dtype: torch.dtype | None = None

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        """The one part: ``x`` itself if it is that already."""
        return {"": x.to(self.dtype or x.dtype).contiguous()}

    def decode(self, parts: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        """The part itself if it is of ``dtype``."""
        return parts[""].to(dtype)

    def layout(self, layers: int, tokens: int, heads: int, width: int) -> Layout:
        """Of the one part."""
        return {"": ((layers, tokens, heads, width), self.dtype)}


@dataclass(frozen=True)
class Scaled:
    """Codes of ``dtype`` from -``top`` to ``top``, times one float32 scale a group.

    int8 rounds half to even: off by half a scale at most. float8_e4m3fn keeps four digits.
    """

    dtype: torch.dtype
    top: int
    grouping: Grouping

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        """Codes, and scales [layers, groups of tokens, kv_heads, groups of channels]."""
        folded = self.grouping.fold(x)
        scale = _floored(self.grouping.largest(folded.abs()) * (SHY / self.top))
        # Zero by zero gives NaN, and a code for it; the scale makes zero of any code.
        codes = (folded / scale).clamp_(-self.top, self.top).nan_to_num_(0)
        codes = codes if self.dtype.is_floating_point else codes.round_()
        codes = self.grouping.unfold(codes.to(self.dtype), x.shape[1])
        return {"": codes, "_scale": scale.squeeze(5).squeeze(2)}

    def decode(self, parts: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        """Code times scale: rounded once in float32, once to ``dtype``."""
        return _line(self.grouping, parts[""], dtype, parts["_scale"])

    def layout(self, layers: int, tokens: int, heads: int, width: int) -> Layout:
        """Of codes and scales."""
        scales = self.grouping.shape(layers, tokens, heads, width)
        return {"": ((layers, tokens, heads, width), self.dtype), "_scale": (scales, torch.float32)}


@dataclass(frozen=True)
class Nibbles:
    """Sixteen equal steps over the range of a group: bfloat16 step ("scale") and centre a group.

    Channel c of a head shares a byte with channel c + head_dim / 2, which has the high four bits.
    A value is off by half a step at most. The centre is rounded towards zero and the step is taken
    from the farther end of the range, so both ends stay inside.
    """

    grouping: Grouping

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        """Bytes [layers, tokens, kv_heads, head_dim / 2], steps and centres as ``Scaled``'s."""
        folded = self.grouping.fold(x)
        high, low = self.grouping.largest(folded), -self.grouping.largest(-folded)
        # Adding zero makes one zero of -0 and 0, which maxima do not tell apart.
        centre = _truncated(high * 0.5 + low * 0.5 + 0.0)
        scale = torch.maximum(high - centre, centre - low) * (SHY / MIDDLE)
        scale = _floored(_truncated(scale.clamp(max=WIDEST)))
        codes = ((folded - centre) / scale).add_(MIDDLE).round_()
        codes = codes.clamp_(0, LAST).nan_to_num_(0).to(torch.uint8)
        first, second = self.grouping.unfold(codes, x.shape[1]).chunk(2, -1)
        numbers = {"_scale": scale, "_centre": centre}
        stored = {name: t.squeeze(5).squeeze(2).to(torch.bfloat16) for name, t in numbers.items()}
        return {"": first | second << 4, **stored}

    def decode(self, parts: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        """Code times step plus the bottom of the range, in float32, rounded once to ``dtype``.

        The product and the bottom's are exact (4 x 8 digits): fused or not, the sum is the same.
        """
        scale = parts["_scale"].to(torch.float32)
        bottom = parts["_centre"] - scale * MIDDLE
        return _line(self.grouping, _unpacked(parts[""]), dtype, scale, bottom)

    def layout(self, layers: int, tokens: int, heads: int, width: int) -> Layout:
        """Of bytes, steps and centres."""
        numbers = self.grouping.shape(layers, tokens, heads, 2 * width), torch.bfloat16
        bytes_ = (layers, tokens, heads, width), torch.uint8
        return {"": bytes_, "_scale": numbers, "_centre": numbers}


def _truncated(x: Tensor) -> Tensor:
    """float32 cut to what bfloat16 holds, towards zero: finite stays finite."""
    return x.contiguous().view(torch.int32).bitwise_and(-0x10000).view(torch.float32)


def _floored(scale: Tensor) -> Tensor:
    return torch.where(scale < FLOOR, 0.0, scale)


def _unpacked(packed: Tensor) -> Tensor:
    """uint8 [tokens, kv_heads, head_dim] of 0..15; eight bytes at a time where they lie so."""
    if packed.shape[-1] % 8 == 0 and packed.storage_offset() % 8 == 0:
        wide, nibble = packed.view(torch.int64), NIBBLE
    else:
        wide, nibble = packed, NIBBLE & 0xFF
    pair = wide.new_empty(*wide.shape[:-1], 2, wide.shape[-1])
    first, second = pair.unbind(-2)
    torch.bitwise_and(wide, nibble, out=first)
    torch.bitwise_right_shift(wide, 4, out=second).bitwise_and_(nibble)
    return pair.view(torch.uint8).flatten(-2)


def _line(
    grouping: Grouping, codes: Tensor, dtype: torch.dtype, scale: Tensor, *bottom: Tensor
) -> Tensor:
    """``scale * codes + bottom`` in float32, then in ``dtype``: [tokens, kv_heads, head_dim]."""
    if codes.dtype is torch.float8_e4m3fn:
        scale = scale * E4M3_TO_FLOAT16
    out = torch.empty(codes.shape, dtype=dtype, device=codes.device)
    # [tokens, kv_heads, groups of channels, channels of a group] beside [..., groups, 1]
    shape = *codes.shape[:2], scale.shape[2], codes.shape[2] // scale.shape[2]
    split, numbers = (codes.view(shape), out.view(shape)), [x[..., None] for x in (scale, *bottom)]
    if codes.device.type != "cpu" and 1 < scale.shape[0] < codes.shape[0]:
        # There every launch counts: one for all groups, not some for each.
        numbers = [grouping.spread(x, codes.shape[0]) for x in numbers]
    scratch = torch.empty(0, device=codes.device)
    for code, target, by, *plus in grouping.pieces(piece_count(codes), split, numbers):
        if scratch.shape != code.shape:
            scratch = torch.empty(code.shape, device=codes.device)
        scratch.copy_(_numbers(code)).mul_(by)
        target.copy_(scratch.add_(plus[0]) if plus else scratch)
    return out


def _numbers(codes: Tensor) -> Tensor:
    """Integers as they are; e4m3 as float16 of the same bits, which torch converts much faster.

    One digit more in the exponent, with another bias: E4M3_TO_FLOAT16 times too small.
    """
    if codes.dtype is not torch.float8_e4m3fn:
        return codes
    bits = codes.view(torch.int8).to(torch.int16).bitwise_left_shift_(7)
    return bits.bitwise_and_(-0x4080).view(torch.float16)
