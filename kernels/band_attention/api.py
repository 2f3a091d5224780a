"""The contract of band attention: what every backend computes, checked once here.

A call packs R rows (one row: one (query, document) pair, or one segment being read). Row r has
`q_len` query tokens, the last ones of its `k_len` own tokens, and sees, in this order,

    header K/V (shared by every row) | prefix K/V of row r (its document) | own tokens, causally

Causality is aligned at the end: query token i of row r sees own tokens 0 .. k_len - q_len + i.
Source: method, section 3; the "extend" attention of serving engines has the same shape.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from minireranker.errors import ConfigurationError

Lengths: TypeAlias = Sequence[int]


class Extent(NamedTuple):
    """K and V of consecutive tokens, [tokens, kv_heads, head_dim]; views into a pool are fine."""

    k: Tensor
    v: Tensor


BACKENDS = ("reference", "sdpa", "packed")
"""reference: float64, defines the result. sdpa: torch's fused attention, row by row.
packed: two matrix products a row, GQA groups folded into rows; fastest on CPUs."""


def choose_backend(device: torch.device) -> str:
    """The backend ``"auto"`` stands for on a device."""
    return "packed" if device.type == "cpu" else "sdpa"


def band_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    cu_seqlens_q: Lengths,
    cu_seqlens_k: Lengths,
    header: Extent | None = None,
    prefixes: Sequence[Extent | None] | None = None,
    backend: str = "auto",
) -> Tensor:
    """Attention of every row's query tokens; scale is ``head_dim ** -0.5``.

    ``q`` [total_q, heads, head_dim]; ``k``, ``v`` [total_k, kv_heads, head_dim]: the rows' own
    tokens; ``heads`` is a multiple of ``kv_heads`` (GQA: query heads of a group are adjacent).
    ``cu_seqlens_q``, ``cu_seqlens_k``: R + 1 host integers, row r owns
    ``[cu_seqlens[r], cu_seqlens[r + 1])``. Tokens past the last row are padding: their output is
    zero. ``prefixes``: one Extent (or None) a row.

    Returns [total_q, heads, head_dim] in ``q``'s dtype. Mutates nothing. Raises ConfigurationError
    for an unknown backend and ValueError for shapes that contradict each other.
    """
    name = choose_backend(q.device) if backend == "auto" else backend
    if name not in BACKENDS:
        raise ConfigurationError(
            f"band_attention has no backend {name!r}; use one of {', '.join(BACKENDS)} or 'auto'"
        )
    rows = len(cu_seqlens_q) - 1
    extents = [None] * rows if prefixes is None else list(prefixes)
    _check(q, k, v, cu_seqlens_q, cu_seqlens_k, header, extents)
    run: Callable[..., Tensor] = importlib.import_module(f".{name}", __package__).attend
    return run(q, k, v, cu_seqlens_q, cu_seqlens_k, header, extents)


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_q: Lengths,
    cu_k: Lengths,
    header: Extent | None,
    extents: Sequence[Extent | None],
) -> None:
    if q.ndim != 3 or k.ndim != 3 or k.shape != v.shape or q.shape[2] != k.shape[2]:
        raise ValueError(f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)} do not match")
    if q.shape[1] % k.shape[1]:
        raise ValueError(f"{q.shape[1]} query heads are not a multiple of {k.shape[1]} KV heads")
    if len(cu_q) != len(cu_k) or len(extents) != len(cu_q) - 1:
        raise ValueError(
            f"{len(cu_q) - 1} rows of queries, {len(cu_k) - 1} of keys, {len(extents)} prefixes"
        )
    if cu_q[0] != 0 or cu_k[0] != 0:
        raise ValueError(f"cu_seqlens start at {cu_q[0]}, {cu_k[0]}: both start at 0")
    if cu_q[-1] > q.shape[0] or cu_k[-1] > k.shape[0]:
        raise ValueError(
            f"cu_seqlens end at {cu_q[-1]}, {cu_k[-1]}: past the {q.shape[0]} packed query tokens "
            f"or the {k.shape[0]} own tokens"
        )
    for row in range(len(extents)):
        queries, keys = cu_q[row + 1] - cu_q[row], cu_k[row + 1] - cu_k[row]
        if not 0 < queries <= keys:
            raise ValueError(f"row {row} has {queries} query tokens and {keys} own tokens")
    for extent in (header, *extents):
        if extent is None:
            continue
        if extent.k.shape[1:] != k.shape[1:] or extent.v.shape != extent.k.shape:
            shapes = f"{tuple(extent.k.shape)}, {tuple(extent.v.shape)}"
            raise ValueError(f"K/V extent {shapes} beside keys {tuple(k.shape)}")
