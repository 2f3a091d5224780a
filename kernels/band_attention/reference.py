"""Band attention as the contract says it, in float64, one row and one head group at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .api import Extent, Lengths
from .rows import causal_mask, gather_keys


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_q: Lengths,
    cu_k: Lengths,
    header: Extent | None,
    prefixes: Sequence[Extent | None],
) -> Tensor:
    """See ``band_attention``; this defines its result."""
    out = torch.zeros_like(q)
    group = q.shape[1] // k.shape[1]
    for row, prefix in enumerate(prefixes):
        span_q, span_k = slice(cu_q[row], cu_q[row + 1]), slice(cu_k[row], cu_k[row + 1])
        keys, values = gather_keys(header, prefix, Extent(k[span_k], v[span_k]))
        keys = keys.double().repeat_interleave(group, dim=0)  # [heads, tokens, head_dim]
        values = values.double().repeat_interleave(group, dim=0)
        queries = q[span_q].double().transpose(0, 1)
        scores = queries @ keys.transpose(1, 2) * q.shape[2] ** -0.5
        own = span_k.stop - span_k.start
        scores[..., -own:] += causal_mask(queries.shape[1], own, scores)
        out[span_q] = (scores.softmax(-1) @ values).transpose(0, 1).to(q.dtype)
    return out
