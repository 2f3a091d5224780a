"""Calls of the fused passes' Triton kernels in Triton's interpreter: run with TRITON_INTERPRET=1.

A process of its own, because the variable counts only when the kernels' module is imported. Prints
one line a call: its name, and the largest error over what one rounding of the dtype allows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minireranker.kernels.fused import add_rms_norm, norm_rope, swiglu
from minireranker.kernels.fused import triton as kernels

NAN = float("nan")
EPS = 1e-6


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def say(name: str, found: Tensor, exact: Tensor) -> None:
    """``exact`` is float64; a rounding, and float32's own noise, are allowed."""
    allowed = torch.finfo(found.dtype).eps * exact.abs() + 2e-6
    assert found.is_contiguous()
    print(name, found.dtype, tuple(found.shape), float(((found - exact).abs() / allowed).max()))


def rope(dtype: torch.dtype, tokens: int, heads: int, dim: int) -> None:
    """Heads that are a view into something wider, NaN around them."""
    wide = torch.full((tokens, heads + 3, dim), NAN, dtype=dtype)
    wide[:, 1 : heads + 1] = random(tokens, heads, dim, seed=0, dtype=dtype)
    given, weight = wide[:, 1 : heads + 1], random(dim, seed=1, dtype=dtype)
    angles = random(tokens, dim // 2, seed=2)
    found = kernels.norm_rope(given, weight, angles.cos(), angles.sin(), EPS)
    cos, sin = angles.cos().double(), angles.sin().double()
    say("norm_rope", found, norm_rope(given.double(), weight.double(), cos, sin, EPS))


def gates(dtype: torch.dtype, rows: int, features: int) -> None:
    wide = torch.full((rows, 2 * features + 5), NAN, dtype=dtype)
    wide[:, : 2 * features] = random(rows, 2 * features, seed=3, dtype=dtype)
    given = wide[:, : 2 * features]
    say("swiglu", kernels.swiglu(given), swiglu(given.double()))


def residual(dtype: torch.dtype, rows: int, features: int) -> None:
    x, added = (random(rows, features, seed=s, dtype=dtype) for s in (4, 5))
    weight = random(features, seed=6, dtype=dtype)
    total, normed = kernels.add_rms_norm(x, added, weight, EPS)
    # The interpreter cuts float32 to bfloat16 where a device rounds.
    say("add", total, x.double() + added.double())
    zero = torch.zeros_like(total).double()
    say("add_rms_norm", normed, add_rms_norm(total.double(), zero, weight.double(), EPS)[1])


if __name__ == "__main__":
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        rope(dtype, 7, 3, 32)
        rope(dtype, 1, 1, 80)
        rope(dtype, 33, 2, 128)
        gates(dtype, 3, 40)
        gates(dtype, 2, 1500)
        residual(dtype, 5, 96)
        residual(dtype, 1, 1024)
    assert kernels.swiglu(torch.empty(0, 8)).shape == (0, 4)
    assert kernels.norm_rope(
        torch.empty(0, 2, 8), torch.ones(8), torch.empty(0, 4), torch.empty(0, 4), EPS
    ).shape == (0, 2, 8)
