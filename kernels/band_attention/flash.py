"""Band attention through FlashAttention's kernels for packed sequences, in parts.

The package flash_attn where it is installed, else the same kernels in torch's CUDA build. The parts
and their merging are tested on the CPU; these two calls were not run yet, for want of a device.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools

import torch
from torch import Tensor

from .call import Call, Lengths
from .parts import Part, attend_in_parts, check_numbers, no_device


def requirement(device: torch.device) -> str | None:
    """CUDA, sm_80 or later, and FlashAttention's kernels from somewhere."""
    reason = no_device("flash", device)
    if reason is not None:
        return reason
    if _has_package() or torch.backends.cuda.is_flash_attention_available():
        return None
    return (
        "band_attention's backend 'flash' needs FlashAttention, which this torch was built "
        "without: install flash-attn, or take backend='auto'"
    )


def attend(call: Call) -> tuple[Tensor, Tensor | None]:
    """See ``band_attention``. Raises ConfigurationError for a dtype or head it does not know."""
    check_numbers(call, "flash")
    return attend_in_parts(call, _package if _has_package() else _torch)


def _has_package() -> bool:
    return importlib.util.find_spec("flash_attn") is not None


def _package(part: Part) -> tuple[Tensor, Tensor]:
    out, lse, _ = importlib.import_module("flash_attn").flash_attn_varlen_func(
        part.q,
        part.k,
        part.v,
        _on_device(part.cu_q, part.q),
        _on_device(part.cu_k, part.q),
        _longest(part.cu_q),
        _longest(part.cu_k),
        causal=part.causal,
        return_attn_probs=True,
    )
    return out, lse.T  # [heads, tokens], since version 2.6


def _torch(part: Part) -> tuple[Tensor, Tensor]:
    out, lse, *_ = torch.ops.aten._flash_attention_forward(
        part.q,
        part.k,
        part.v,
        _on_device(part.cu_q, part.q),
        _on_device(part.cu_k, part.q),
        _longest(part.cu_q),
        _longest(part.cu_k),
        0.0,  # of dropout
        part.causal,
        False,  # no debugging mask
    )
    return out, lse.T  # [heads, tokens]


def _on_device(lengths: Lengths, like: Tensor) -> Tensor:
    return torch.tensor(lengths, dtype=torch.int32).to(like.device, non_blocking=True)


def _longest(lengths: Lengths) -> int:
    return max(stop - start for start, stop in itertools.pairwise(lengths))
