"""Attention over all keys from attention over parts of them.

    lse = log sum_p exp(lse_p)        out = sum_p exp(lse_p - lse) out_p

exact for any split of the keys, since out_p is a mean weighted by exp(score) and exp(lse_p) is the
sum of its weights. Source: FlashAttention-2 (arXiv 2307.08691, section 2.3), "split" decoding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def merge(outs: Sequence[Tensor], lses: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Output [tokens, heads, head_dim] and natural-log LSE [tokens, heads] over all parts' keys.

    One of each a part, at least one; LSEs in float32 or wider, -inf where a part has no key: its
    output there is ignored, whatever it holds. Where no part has one the output is zero and the LSE
    -inf. Summed in the LSEs' dtype, rounded once to the first output's. Mutates nothing.
    """
    stacked = torch.stack(tuple(lses))
    lse = stacked.logsumexp(0)
    total = torch.zeros(outs[0].shape, dtype=lse.dtype, device=lse.device)
    for out, own in zip(outs, stacked, strict=True):
        weighted = out.to(lse.dtype) * (own - lse).exp()[:, :, None]
        total += weighted.masked_fill_((own == float("-inf"))[:, :, None], 0)
    return total.to(outs[0].dtype), lse
