"""MaxSim on a CPU: blocks of the pool against the query tokens, then a maximum by document.

A group of neighbouring documents is multiplied where it lies, in one product [rows, tokens]; only
where gaps are wide, or the dtype is not one to multiply in, its rows are copied first. A product is
reduced before the next is made, so that it never leaves the caches. The pool is read once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minireranker.errors import ConfigurationError

from .blocks import Blocks
from .call import Call
from .chunks import chunks, tokens_a_query
from .groups import groups

_QUERY_TOKENS = 512
"""Of a product: with more it gets no faster, and its blocks only thinner."""


def score(call: Call) -> Tensor:
    """See ``maxsim``. Raises ConfigurationError on another device than a CPU."""
    device = call.documents.vectors.device
    if device.type != "cpu":
        raise ConfigurationError(
            f"maxsim's backend 'blocked' runs on CPUs, not on {device}; take backend='auto'"
        )
    out, alive = torch.zeros(call.shape), torch.zeros(call.shape[1], dtype=torch.bool)
    most = max(1, min(_QUERY_TOKENS, call.cu_seqlens_q[-1]))
    blocks, parts = Blocks(call, most), list(chunks(call, most))
    for group in groups(call.starts.cpu(), call.lengths.cpu(), blocks.rows):
        places = torch.from_numpy(group.documents)
        alive[places] = blocks.alive(group)
        for part in parts:
            met = part.sum(blocks.best(group, part.tokens))
            out[part.queries].index_add_(1, places, met)
    if call.reduce == "mean":
        out /= tokens_a_query(call).clamp_(min=1)[:, None]
    return out.masked_fill_(~alive, float("-inf"))
