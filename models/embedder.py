"""Qwen3-VL as an embedding model: states after the final norm, and what the last token attends to.

The forward is the decoder's own, packed and on the fast attention path. Attention weights are never
materialised beyond one row: the last token's, a layer at a time (method, section 3; the source of
the guidance is the miniReranker paper, arXiv 2606.10759v2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from minireranker.kernels.band_attention import band_attention

from .qwen3_vl import Decoder, NormRope, Projected


def read_states(
    decoder: Decoder,
    x: Tensor,
    rope: NormRope,
    cu_seqlens: Sequence[int],
    injections: Sequence[Tensor],
    *,
    watched: Sequence[slice] = (),
    backend: str = "auto",
) -> tuple[Tensor, list[Tensor]]:
    """States [rows, hidden] before the final norm, and importances of each packed sequence.

    ``x`` [rows, hidden]: embedded sequences behind one another, padded at the end; ``cu_seqlens``:
    their ends. ``watched``: for each sequence (or none at all) the rows that its importances are
    asked for, up to and including the row that attends. An importance is the attention that this
    last row pays to a row, summed over all layers and heads: float32 [rows of the slice].
    """
    sums = [x.new_zeros(part.stop - part.start, dtype=torch.float32) for part in watched]

    def attend(layer: int, heads: Projected) -> Tensor:
        for total, part in zip(sums, watched, strict=True):
            total += _attention_of_last(heads.q[part.stop - 1], heads.k[part])
        return band_attention(
            *heads, cu_seqlens_q=cu_seqlens, cu_seqlens_k=cu_seqlens, backend=backend
        )

    return decoder.run(x, rope, range(len(decoder.layers)), attend, injections), sums


def final_norm(decoder: Decoder, states: Tensor) -> Tensor:
    """The final norm in float32 (or wider), [rows, hidden]."""
    wide = states.to(torch.promote_types(states.dtype, torch.float32))
    scale = (wide.square().mean(-1, keepdim=True) + decoder.norm.eps).rsqrt()
    out: Tensor = wide * scale * decoder.norm.weight.to(wide)
    return out


def _attention_of_last(query: Tensor, keys: Tensor) -> Tensor:
    """Weights of one query over all keys, summed over heads: float32 [keys].

    ``query`` [heads, head_dim], ``keys`` [keys, kv_heads, head_dim].
    """
    kv_heads, dim = keys.shape[1:]
    grouped = query.view(kv_heads, -1, dim).float() * dim**-0.5  # [kv_heads, group, head_dim]
    logits = torch.bmm(grouped, keys.permute(1, 2, 0).float())
    return torch.softmax(logits, -1).sum((0, 1))
