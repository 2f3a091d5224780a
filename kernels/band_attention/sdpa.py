"""Band attention through torch's scaled_dot_product_attention, row by row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
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
    """See ``band_attention``."""
    out = torch.zeros_like(q)
    for row, prefix in enumerate(prefixes):
        span_q, span_k = slice(cu_q[row], cu_q[row + 1]), slice(cu_k[row], cu_k[row + 1])
        keys, values = gather_keys(header, prefix, Extent(k[span_k], v[span_k]))
        queries = q[span_q].transpose(0, 1)  # [heads, q_len, head_dim]
        # The whole row's mask: what stands before the own tokens is visible, so the alignment at
        # the end makes it one triangle.
        mask = causal_mask(queries.shape[1], keys.shape[1], q)
        attended = F.scaled_dot_product_attention(
            queries[None], keys[None], values[None], attn_mask=mask, enable_gqa=True
        )
        out[span_q] = attended[0].transpose(0, 1)
    return out
