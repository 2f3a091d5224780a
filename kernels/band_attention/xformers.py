"""Band attention through xformers' partial attention over blocks, in parts.

Since version 0.0.35 xformers only passes on what the package mslk has, under the same names. The
parts and their merging are tested on the CPU; this call was not run yet, for want of a device.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
from typing import Any

import torch
from torch import Tensor

from .call import Call, Lengths
from .parts import Part, attend_in_parts, check_numbers, no_device


def requirement(device: torch.device) -> str | None:
    """CUDA, sm_80 or later, the package, and what it passes on."""
    reason = no_device("xformers", device)
    if reason is not None:
        return reason
    if importlib.util.find_spec("xformers") is None:
        return (
            "band_attention's backend 'xformers' needs the package xformers: install it, or take "
            "backend='auto'"
        )
    if not hasattr(_fmha(), "memory_efficient_attention_partial"):
        return (
            "band_attention's backend 'xformers' needs the package mslk beside this version of "
            "xformers: install it, or take backend='auto'"
        )
    return None


def attend(call: Call) -> tuple[Tensor, Tensor | None]:
    """See ``band_attention``. Raises ConfigurationError for a dtype or head it does not know."""
    check_numbers(call, "xformers")
    return attend_in_parts(call, _launch)


def _fmha() -> Any:
    return importlib.import_module("xformers.ops.fmha")


def _launch(part: Part) -> tuple[Tensor, Tensor]:
    fmha, kv_heads = _fmha(), part.k.shape[1]
    sizes = _sizes(part.cu_q)
    bias = fmha.attn_bias.BlockDiagonalMask.from_seqlens(sizes, _sizes(part.cu_k))
    if part.causal:
        bias = bias.make_causal_from_bottomright()
    # GQA is a dimension of its own, along which keys do not move: [1, tokens, kv_heads, group, dim]
    q = part.q.view(1, len(part.q), kv_heads, -1, part.q.shape[2])
    k, v = (x[None, :, :, None].expand(-1, -1, -1, q.shape[3], -1) for x in (part.k, part.v))
    out, lse = fmha.memory_efficient_attention_partial(q, k, v, bias)
    return out[0].flatten(1, 2), _tokens_first(lse, sizes)


def _sizes(lengths: Lengths) -> list[int]:
    return [stop - start for start, stop in itertools.pairwise(lengths)]


def _tokens_first(lse: Tensor, sizes: list[int]) -> Tensor:
    """[tokens, heads], from one sequence after the other, or from each padded to the longest."""
    heads_first = lse.flatten(1, -2)  # [1 or sequences, heads, tokens at least]
    if len(heads_first) == 1:
        return heads_first[0, :, : sum(sizes)].T
    rows = zip(heads_first, sizes, strict=True)
    return torch.cat([row[:, :size] for row, size in rows], dim=1).T
