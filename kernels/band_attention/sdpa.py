"""Band attention through torch's scaled_dot_product_attention, row by row.

It does not give the LSE: where that is wanted the scores are multiplied once more.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .call import Call
from .rows import causal_mask, empty_lse, keys_of


def requirement(device: torch.device) -> str | None:
    """None: it runs wherever torch does."""
    return None


def attend(call: Call) -> tuple[Tensor, Tensor | None]:
    """See ``band_attention``."""
    out, lse = torch.zeros_like(call.q), empty_lse(call)
    for row in range(call.rows):
        span = slice(call.cu_q[row], call.cu_q[row + 1])
        keys, values = keys_of(call, row, call.q.dtype)[:2]
        queries = call.q[span].transpose(0, 1)  # [heads, q_len, head_dim]
        # The whole row's mask: what stands before the own tokens is visible, so the alignment at
        # the end makes it one triangle.
        mask = causal_mask(queries.shape[1], keys.shape[1], call.q)
        attended = F.scaled_dot_product_attention(
            queries[None], keys[None], values[None], attn_mask=mask, enable_gqa=True
        )
        out[span] = attended[0].transpose(0, 1)
        if lse is not None:
            lse[span] = _log_sum_exp(queries, keys, mask)
    return out, lse


def _log_sum_exp(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """[q_len, heads], from queries and keys [heads or kv_heads, tokens, head_dim]."""
    wide = torch.promote_types(queries.dtype, torch.float32)
    count, dim = queries.shape[1:]
    groups = (queries.to(wide) * dim**-0.5).view(len(keys), -1, count, dim)
    scores: Tensor = groups @ keys.to(wide)[:, None].transpose(2, 3) + mask
    return scores.logsumexp(-1).flatten(0, 1).T
