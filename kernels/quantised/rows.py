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

    A row with a NaN or an infinity has a scale that is none either: products with it are not
    finite.
    """
    low, high = torch.aminmax(x, dim=1, keepdim=True)
    largest = torch.maximum(high, -low).float()
    # A row of zeros keeps zeros, and one of tiny numbers an inverse that is finite.
    scale = (largest / LARGEST[kind]).clamp_(min=torch.finfo(torch.float32).tiny)
    numbers = torch.empty(x.shape, dtype=DTYPES[kind], device=x.device)
    inverse = scale.reciprocal()
    step = _BLOCK if x.device.type == "cpu" else max(1, len(x))
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        wide = x[part] * inverse[part]
        numbers[part].copy_(wide.round_() if kind == "int8" else wide)
    return Rows(numbers, scale, x.dtype)
