"""MaxSim as the contract says it, in float64, one query and one document at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from .call import Call, Tokens


def score(call: Call) -> Tensor:
    """See ``maxsim``; this defines its result."""
    out = torch.zeros(call.shape, dtype=torch.float64)
    extents = list(zip(call.starts.tolist(), call.lengths.tolist(), strict=True))
    documents = [_rows(call.documents, start, start + length) for start, length in extents]
    for i in range(call.shape[0]):
        query = _rows(call.queries, call.cu_seqlens_q[i], call.cu_seqlens_q[i + 1])
        for d, document in enumerate(documents):
            if not len(document):
                out[i, d] = float("-inf")
            elif len(query):
                met = (query @ document.T).amax(1)  # [query tokens]
                out[i, d] = met.mean() if call.reduce == "mean" else met.sum()
    return out.to(call.documents.vectors.device, torch.float32)


def _rows(side: Tokens, start: int, stop: int) -> Tensor:
    """The tokens that exist, float64 [tokens, dim]."""
    rows = side.vectors[start:stop].to("cpu", torch.float64)
    if side.scales is not None:
        rows = rows * side.scales[start:stop, None].to(rows)
    return rows if side.mask is None else rows[side.mask[start:stop].cpu()]
