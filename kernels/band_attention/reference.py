"""Band attention as the contract says it, in float64, one row and one head group at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from .call import Call
from .rows import causal_mask, empty_lse, keys_of


def requirement(device: torch.device) -> str | None:
    """None: it runs wherever torch does."""
    return None


def attend(call: Call) -> tuple[Tensor, Tensor | None]:
    """See ``band_attention``; this defines its result."""
    out, lse = torch.zeros_like(call.q), empty_lse(call)
    for row in range(call.rows):
        span = slice(call.cu_q[row], call.cu_q[row + 1])
        gathered = keys_of(call, row, torch.float64)
        keys = gathered.k.repeat_interleave(call.group, dim=0)  # [heads, tokens, head_dim]
        values = gathered.v.repeat_interleave(call.group, dim=0)
        queries = call.q[span].double().transpose(0, 1)
        scores = queries @ keys.transpose(1, 2) * call.scale
        own = call.cu_k[row + 1] - call.cu_k[row]
        scores[..., -own:] += causal_mask(queries.shape[1], own, scores)
        out[span] = (scores.softmax(-1) @ values).transpose(0, 1).to(call.q.dtype)
        if lse is not None:
            lse[span] = scores.logsumexp(-1).T.float()
    return out, lse
