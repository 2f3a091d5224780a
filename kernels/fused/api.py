"""What lies between a layer's products, in as few reads and writes as it can be.

On a GPU these passes cost what their bytes cost, and unfused they are more bytes than attention is.
Everything is computed in float32 (or wider) and rounded once. CUDA tensors go through Triton,
others through ``plain``, which defines the results.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from torch import Tensor

from minireranker.errors import ConfigurationError

from . import plain

__all__ = ["add_rms_norm", "norm_rope", "swiglu"]


def norm_rope(heads: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
    """RMSNorm over the head dimension, then rotation of its two halves.

    ``heads`` [tokens, heads, head_dim], strides free but the last, which is 1; ``weight``
    [head_dim]; ``cos``, ``sin`` [tokens, head_dim / 2], float32 or wider. Returns a new contiguous
    tensor of ``heads``' dtype. Source: transformers' modeling_qwen3_vl (Qwen3VLTextAttention).
    Raises ValueError for shapes that do not match.
    """
    angles = len(heads), heads.shape[-1] // 2
    if weight.shape != heads.shape[-1:] or cos.shape != angles or sin.shape != angles:
        raise ValueError(
            f"heads {tuple(heads.shape)}, weight {tuple(weight.shape)}, cos {tuple(cos.shape)}, "
            f"sin {tuple(sin.shape)} do not match"
        )
    if heads.is_cuda:
        out: Tensor = _triton().norm_rope(heads, weight, cos, sin, eps)
        return out
    return plain.norm_rope(heads, weight, cos, sin, eps)


def swiglu(gate_up: Tensor) -> Tensor:
    """``silu(gate) * up`` of [rows, 2 x features], the gates first; contiguous [rows, features].

    Raises ValueError for an odd number of columns.
    """
    if gate_up.ndim != 2 or gate_up.shape[1] % 2:
        raise ValueError(f"gate and up are {tuple(gate_up.shape)}: rows of an even number")
    if gate_up.is_cuda:
        out: Tensor = _triton().swiglu(gate_up)
        return out
    return plain.swiglu(gate_up)


def add_rms_norm(x: Tensor, added: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """``x + added``, rounded to their dtype, and the RMSNorm of that; all [rows, features].

    Raises ValueError for shapes that do not match.
    """
    if x.shape != added.shape or weight.shape != x.shape[1:]:
        raise ValueError(
            f"x {tuple(x.shape)}, added {tuple(added.shape)}, weight {tuple(weight.shape)} do not "
            "match"
        )
    if x.is_cuda:
        both: tuple[Tensor, Tensor] = _triton().add_rms_norm(x, added, weight, eps)
        return both
    return plain.add_rms_norm(x, added, weight, eps)


def _triton() -> Any:
    if importlib.util.find_spec("triton") is None:
        raise ConfigurationError(
            "the fused passes need the package triton on a GPU: install it, or a CUDA build of "
            "torch, which brings it"
        )
    from . import triton

    return triton
