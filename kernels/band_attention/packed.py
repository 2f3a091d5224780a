"""Band attention as two matrix products a row, for CPUs.

The query heads of one KV head become rows of one product ([group * q_len, head_dim] against that
head's keys), so the small GQA products turn into few larger ones; softmax is in float32. On a CPU
this beats the fused attention, which works head by head (figures in DECISIONS.md). Long rows go in
blocks of queries, which bounds the score matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .api import Extent, Lengths
from .rows import causal_mask, gather_keys

_BLOCK = 512
"""Query tokens a block: the score matrix of one KV head stays within the caches."""


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_q: Lengths,
    cu_k: Lengths,
    header: Extent | None,
    prefixes: Sequence[Extent | None],
) -> Tensor:
    """See ``band_attention``."""
    out = torch.zeros_like(q)
    for row, prefix in enumerate(prefixes):
        start_k, stop_k = cu_k[row], cu_k[row + 1]
        keys, values = gather_keys(header, prefix, Extent(k[start_k:stop_k], v[start_k:stop_k]))
        for start in range(cu_q[row], cu_q[row + 1], _BLOCK):
            stop = min(start + _BLOCK, cu_q[row + 1])
            # Tokens after the block's last query are out of sight: leave them out.
            visible = keys.shape[1] - (cu_q[row + 1] - stop)
            _attend_block(q[start:stop], keys[:, :visible], values[:, :visible], out[start:stop])
    return out


def _attend_block(q: Tensor, keys: Tensor, values: Tensor, out: Tensor) -> None:
    """Fill ``out`` [q_len, heads, head_dim]; the queries are the last tokens of ``keys``."""
    count, heads, dim = q.shape
    kv_heads, visible, _ = keys.shape
    group = heads // kv_heads
    scaled = (q * dim**-0.5).view(count, kv_heads, group, dim).permute(1, 2, 0, 3)
    scores = torch.bmm(scaled.reshape(kv_heads, group * count, dim), keys.transpose(1, 2))
    # [kv_heads, group, q_len, visible]; only the last q_len columns can be out of sight.
    view = scores.view(kv_heads, group, count, visible)
    view[..., visible - count :] += causal_mask(count, count, scores)
    wide = torch.promote_types(scores.dtype, torch.float32)
    weights = torch.softmax(scores, dim=-1, dtype=wide).to(q.dtype)
    attended = torch.bmm(weights, values).view(kv_heads, group, count, dim)
    out.view(count, kv_heads, group, dim).copy_(attended.permute(2, 0, 1, 3))
