"""Rows in eight bits with a scale each: what a quantised product takes.

A row's numbers depend on nothing but the row, so no score depends on what else is in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Kind: TypeAlias = Literal["int8", "fp8"]
KINDS: tuple[Kind, ...] = ("int8", "fp8")

LARGEST = {"int8": 127.0, "fp8": 448.0}
"""That the format holds; fp8 is e4m3 (OCP 8-bit floating point specification, table 1)."""
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
DTYPES = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}

_BLOCK = 256
"""Rows at a time: what lies between them and their numbers stays within the caches of a CPU."""


@dataclass(frozen=True, eq=False)
class Rows:
    """``numbers * scale`` is what was quantised, to half a step."""

    numbers: Tensor
    """[rows, features], int8 or float8_e4m3fn."""
    scale: Tensor
    """[rows, 1], float32."""
    dtype: torch.dtype
    """Of what was quantised, and of products with it."""

    @property
    def shape(self) -> torch.Size:
        """[rows, features]."""
        return self.numbers.shape


def quantise_rows(x: Tensor, kind: Kind) -> Rows:
    """``x`` [rows, features] with each row's largest magnitude at the end of the format's range.

    A scale of bfloat16 rows is itself exact in bfloat16: products can be multiplied by it as they
    are. So the largest magnitude may be half a percent short of the end.

    A row with a NaN or an infinity has a scale that is none either: products with it are not
    finite.
    """
    numbers = torch.empty(x.shape, dtype=DTYPES[kind], device=x.device)
    scale = torch.empty(len(x), 1, device=x.device)
    step = _BLOCK if x.device.type == "cpu" else max(1, len(x))
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        scale[part] = _scale(x[part], kind)
        # One kind of number at a time: torch is many times slower where it has to mix two.
        wide = x[part].to(torch.promote_types(x.dtype, torch.float32), copy=True)
        wide.mul_(scale[part].reciprocal())
        numbers[part].copy_(wide.round_() if kind == "int8" else wide)
    return Rows(numbers, scale, x.dtype)


def _scale(x: Tensor, kind: Kind) -> Tensor:
    """Float32 [rows, 1]: of the largest magnitude, and as exact in bfloat16 where ``x`` is that.

    Magnitudes order as their bits do, without the sign, and integers are compared much faster.
    """
    bits = x.view(_BITS[x.dtype.itemsize])
    largest = bits.bitwise_and(torch.iinfo(bits.dtype).max).amax(1, keepdim=True).view(x.dtype)
    # A row of zeros keeps zeros, and one of tiny numbers an inverse that is finite.
    scale = (largest.float() / LARGEST[kind]).clamp_(min=torch.finfo(torch.float32).tiny)
    if x.dtype is torch.bfloat16:
        # Upwards: no number may leave the range. Not of NaN and infinity, which stay what they are.
        up = scale.view(torch.int32).add(0xFFFF).bitwise_and_(-0x10000).view(torch.float32)
        scale = torch.where(scale.isfinite(), up, scale)
    return scale
