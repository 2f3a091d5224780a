"""Band attention as two matrix products a row, for CPUs.

The query heads of one KV head become rows of one product ([group * q_len, head_dim] against that
head's keys), so the small GQA products turn into few larger ones; softmax is in float32. On a CPU
this beats the fused attention, which works head by head (figures in DECISIONS.md). Long rows go in
blocks of queries, which bounds the score matrix; short ones go together (``packed_together``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .call import Call
from .packed_together import attend_together, is_short
from .rows import causal_mask, empty_lse, keys_of

_BLOCK = 512
"""Query tokens a block, at most: the score matrix of one KV head stays within the caches."""
_SCORES = 2**20
"""Query tokens times keys of a block: bounds the scores of all heads where a row is long."""


def requirement(device: torch.device) -> str | None:
    """None: it runs wherever torch does."""
    return None


def attend(call: Call) -> tuple[Tensor, Tensor | None]:
    """See ``band_attention``."""
    out, lse = torch.zeros_like(call.q), empty_lse(call)
    short, masks = list[int](), dict[int, Tensor]()
    for row in range(call.rows):
        if is_short(call, *_lengths(call, row)):
            short.append(row)
        else:
            _attend_row(call, row, masks, out, lse)
    attend_together(call, short, out, lse)
    return out, lse


def _lengths(call: Call, row: int) -> tuple[int, int]:
    """Tokens of its queries, and of all that they see."""
    seen = [part for part in (call.header, call.prefixes[row]) if part is not None]
    own = call.cu_k[row + 1] - call.cu_k[row]
    return call.cu_q[row + 1] - call.cu_q[row], own + sum(len(part.k) for part in seen)


def _attend_row(
    call: Call, row: int, masks: dict[int, Tensor], out: Tensor, lse: Tensor | None
) -> None:
    """By blocks of its queries; ``masks`` by their length."""
    keys, values = keys_of(call, row, call.q.dtype)[:2]
    last = call.cu_q[row + 1]
    # By the row's own length: its bits must not depend on other rows.
    step = max(16, min(_BLOCK, _SCORES // keys.shape[1] // 16 * 16))
    for start in range(call.cu_q[row], last, step):
        stop = min(start + step, last)
        block = slice(start, stop)
        # Tokens after the block's last query are out of sight: leave them out.
        visible = keys.shape[1] - (last - stop)
        count = stop - start
        if count not in masks:
            masks[count] = causal_mask(count, count, call.q)
        _attend_block(
            call.q[block],
            keys[:, :visible],
            values[:, :visible],
            masks[count],
            out[block],
            None if lse is None else lse[block],
        )


def _attend_block(
    q: Tensor, keys: Tensor, values: Tensor, mask: Tensor, out: Tensor, lse: Tensor | None
) -> None:
    """Fill ``out`` [q_len, heads, head_dim]; the queries are the last tokens of ``keys``.

    ``mask`` [q_len, q_len] says what they see of themselves.
    """
    count, heads, dim = q.shape
    kv_heads, visible, _ = keys.shape
    group = heads // kv_heads
    scaled = (q * dim**-0.5).view(count, kv_heads, group, dim).permute(1, 2, 0, 3)
    scores = torch.bmm(scaled.reshape(kv_heads, group * count, dim), keys.transpose(1, 2))
    # [kv_heads, group, q_len, visible]; only the last q_len columns can be out of sight.
    view = scores.view(kv_heads, group, count, visible)
    view[..., visible - count :] += mask
    wide = torch.promote_types(scores.dtype, torch.float32)
    if lse is not None:
        lse.copy_(view.to(wide).logsumexp(-1).permute(2, 0, 1).reshape(count, heads))
    weights = torch.softmax(scores, dim=-1, dtype=wide).to(q.dtype)
    attended = torch.bmm(weights, values).view(kv_heads, group, count, dim)
    out.view(count, kv_heads, group, dim).copy_(attended.permute(2, 0, 1, 3))
