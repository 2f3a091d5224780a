"""The passes in torch's own operations, in float32 or wider and rounded once.

They define the results and have gradients. On a CPU, where none are wanted, they run over blocks of
rows: what lies between two operations then stays in the caches, which made norms and rotations two
to three times faster (DECISIONS.md). No row's bits depend on the block it is in.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 256
"""Rows at a time: some megabytes in float32 for 2048 features."""


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``x`` [rows, features] over its root mean square, times ``weight`` [features]."""
    wide = _wide(weight)
    return _in_blocks(lambda part: _normed(part, eps).mul(wide).to(x.dtype), x)


def norm_rope(heads: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
    """See ``api.norm_rope``."""
    low, high = weight.to(cos.dtype).chunk(2)

    def turned(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        # The weight goes into the tables, which are the same for all heads of a token.
        first, second = _normed(heads, eps).chunk(2, -1)
        cos, sin = cos[:, None], sin[:, None]
        parts = (
            first * (cos * low) - second * (sin * high),
            second * (cos * high) + first * (sin * low),
        )
        return torch.cat(parts, -1).to(heads.dtype)

    return _in_blocks(turned, heads, cos, sin)


def swiglu(gate_up: Tensor) -> Tensor:
    """See ``api.swiglu``."""
    gate, up = _wide(gate_up).chunk(2, 1)
    return (F.silu(gate) * up).to(gate_up.dtype)


def add_rms_norm(x: Tensor, added: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """See ``api.add_rms_norm``."""
    total = x + added
    return total, rms_norm(total, weight, eps)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _normed(x: Tensor, eps: float) -> Tensor:
    """Over the last dimension, without a weight; float32 or wider."""
    wide = _wide(x)
    return wide * (wide.square().mean(-1, keepdim=True) + eps).rsqrt()


def _in_blocks(work: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """``work`` of ``rows``, which all have the same number of them, and so has what it returns."""
    if torch.is_grad_enabled() or rows[0].device.type != "cpu" or len(rows[0]) <= _BLOCK:
        return work(*rows)
    out = torch.empty(rows[0].shape, dtype=rows[0].dtype)
    for start in range(0, len(out), _BLOCK):
        part = slice(start, start + _BLOCK)
        out[part] = work(*(each[part] for each in rows))
    return out
