"""The fused passes as Triton kernels: every number is read once, and written once.

Compiled for sm_80 and sm_90 and run by Triton's interpreter in the tests; not yet measured on a
device.
"""

# Triton's decorator has no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["add_rms_norm", "norm_rope", "swiglu"]

_HEADS = 16
"""Heads of a token and of its neighbours that one program takes."""
_COLUMNS = 1024


@triton.jit
def norm_rope_kernel(
    heads: tl.tensor,
    weight: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    out: tl.tensor,
    count: tl.tensor,
    n_heads: tl.tensor,
    token_stride: tl.tensor,
    head_stride: tl.tensor,
    eps: tl.tensor,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """ROWS of ``count`` (token, head) rows; BLOCK columns of each half."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK)
    token, head = rows // n_heads, rows % n_heads
    mask = (rows < count)[:, None] & (columns < HALF)[None, :]
    places = (token * token_stride + head * head_stride)[:, None] + columns[None, :]
    low = tl.load(heads + places, mask=mask, other=0.0).to(tl.float32)
    high = tl.load(heads + places + HALF, mask=mask, other=0.0).to(tl.float32)
    scale = tl.rsqrt((tl.sum(low * low, 1) + tl.sum(high * high, 1)) / (2 * HALF) + eps)
    inside = columns < HALF
    below = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    above = tl.load(weight + HALF + columns, mask=inside, other=0.0).to(tl.float32)
    low *= scale[:, None] * below[None, :]
    high *= scale[:, None] * above[None, :]
    angles = (token * HALF)[:, None] + columns[None, :]
    c = tl.load(cos + angles, mask=mask, other=0.0)
    s = tl.load(sin + angles, mask=mask, other=0.0)
    places = (rows * 2 * HALF)[:, None] + columns[None, :]
    tl.store(out + places, low * c - high * s, mask=mask)
    tl.store(out + places + HALF, high * c + low * s, mask=mask)


@triton.jit
def swiglu_kernel(
    gate_up: tl.tensor,
    out: tl.tensor,
    features: tl.tensor,
    row_stride: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """BLOCK columns of one row."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < features
    gate = tl.load(gate_up + row * row_stride + columns, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * row_stride + features + columns, mask=mask, other=0.0)
    tl.store(out + row * features + columns, gate * tl.sigmoid(gate) * up.to(tl.float32), mask=mask)


@triton.jit
def add_rms_norm_kernel(
    x: tl.tensor,
    added: tl.tensor,
    weight: tl.tensor,
    total: tl.tensor,
    normed: tl.tensor,
    x_stride: tl.tensor,
    added_stride: tl.tensor,
    features: tl.tensor,
    eps: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """One row."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < features
    left = tl.load(x + row * x_stride + columns, mask=mask, other=0.0).to(tl.float32)
    right = tl.load(added + row * added_stride + columns, mask=mask, other=0.0).to(tl.float32)
    # The norm is of what the next layer will read: the rounded sum.
    both = (left + right).to(total.dtype.element_ty)
    tl.store(total + row * features + columns, both, mask=mask)
    both = both.to(tl.float32)
    scale = tl.rsqrt(tl.sum(both * both, 0) / features + eps)
    factor = tl.load(weight + columns, mask=mask, other=0.0).to(tl.float32)
    tl.store(normed + row * features + columns, both * scale * factor, mask=mask)


def norm_rope(heads: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
    """See ``api``."""
    tokens, count, dim = heads.shape
    out = torch.empty(heads.shape, dtype=heads.dtype, device=heads.device)
    if tokens:
        half = dim // 2
        block = triton.next_power_of_2(half)
        norm_rope_kernel[(triton.cdiv(tokens * count, _HEADS),)](
            *(heads, weight.contiguous(), cos.contiguous(), sin.contiguous(), out),
            *(tokens * count, count, heads.stride(0), heads.stride(1), eps),
            HALF=half,
            BLOCK=block,
            ROWS=_HEADS,
            enable_fp_fusion=True,
        )
    return out


def swiglu(gate_up: Tensor) -> Tensor:
    """See ``api``."""
    rows, features = gate_up.shape[0], gate_up.shape[1] // 2
    out = torch.empty(rows, features, dtype=gate_up.dtype, device=gate_up.device)
    if rows:
        given = gate_up if gate_up.stride(1) == 1 else gate_up.contiguous()
        grid = (rows, triton.cdiv(features, _COLUMNS))
        swiglu_kernel[grid](
            *(given, out, features, given.stride(0)), BLOCK=_COLUMNS, enable_fp_fusion=True
        )
    return out


def add_rms_norm(x: Tensor, added: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """See ``api``."""
    rows, features = x.shape
    total, normed = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in range(2))
    if rows:
        sides = [side if side.stride(1) == 1 else side.contiguous() for side in (x, added)]
        block = triton.next_power_of_2(features)
        add_rms_norm_kernel[(rows,)](
            *(*sides, weight.contiguous(), total, normed),
            *(sides[0].stride(0), sides[1].stride(0), features, eps),
            BLOCK=block,
            num_warps=8 if block >= 2048 else 4,
            enable_fp_fusion=True,
        )
    return total, normed
