"""Short rows of ``packed`` attention: many in one product instead of two products each.

The products of a short row take less time than the operations around them, each of which also hands
over Python's lock. Rows are padded to shapes that depend on their own lengths alone: many have the
same one, and no row's bits depend on which others do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.kernels.sending import sent

from .call import Call, Extent
from .rows import plain

__all__ = ["attend_together", "is_short"]

_QUERY_TILE = 8
_KEY_TILE = 32
_LEAST = 2**12
"""Multiplications up to which torch does a product by loops of its own and not by oneDNN, with
other bits (aten/src/ATen/native/mkldnn/Matmul.cpp). A row that has no more by itself would change
with its company."""
_MOST = 2**21
"""Multiplications of a product of one row above which it wins nothing (DECISIONS.md)."""
_COPIED = 2**15
"""Numbers of a row's keys above which it loses, because they are copied twice (DECISIONS.md)."""
_NUMBERS = 2**18
"""Scores of one product, and numbers of its keys, at most: they stay in the caches."""

Indices = NDArray[np.int64]


class Shape(NamedTuple):
    """Tokens of a row, padded."""

    queries: int
    keys: int

    @classmethod
    def of(cls, queries: int, keys: int) -> Self:
        """Of a row with so many; a single query, as in a last layer, stays single."""
        tiles = -(-queries // _QUERY_TILE) * _QUERY_TILE if queries > 1 else 1
        return cls(tiles, -(-keys // _KEY_TILE) * _KEY_TILE)


def is_short(call: Call, queries: int, keys: int) -> bool:
    """Whether a row of so many tokens goes with others."""
    shape = Shape.of(queries, keys)
    copied = shape.keys * call.k.shape[1] * call.k.shape[2]
    return copied <= _COPIED and _LEAST < copied * call.group * shape.queries <= _MOST


def attend_together(call: Call, rows: Sequence[int], out: Tensor, lse: Tensor | None) -> None:
    """Fill ``out`` and ``lse`` at the queries of ``rows``, which are short."""
    if not rows:
        return
    pool = _Pool.of(call, rows)
    lengths = zip(pool.queries.tolist(), pool.keys.tolist(), strict=True)
    shapes = [Shape.of(queries, keys) for queries, keys in lengths]
    for shape in sorted(set(shapes)):
        alike = np.flatnonzero([found == shape for found in shapes])
        scores, keys = call.q.shape[1] * shape.queries, call.k.shape[1] * call.k.shape[2]
        most = _power(max(_NUMBERS // (shape.keys * max(scores, keys)), 1) + 1) // 2
        for start in range(0, len(alike), most):
            some = alike[start : start + most]
            # oneDNN compiles a product for every number of rows, and keeps it: let there be few.
            filled = np.pad(some, (0, _power(len(some)) - len(some)), mode="edge")
            _attend(call, pool, filled, shape, out, lse)


@dataclass(frozen=True, eq=False)
class _Pool:
    """Whatever short rows see, behind one another, and where each finds its own."""

    k: Tensor
    """[tokens * kv_heads, head_dim]: header, all own tokens, prefixes; as ``v``."""
    v: Tensor
    header: int
    """Its tokens."""
    first: Indices
    """Of each row's queries, in the call."""
    queries: Indices
    """A row: how many."""
    keys: Indices
    """A row: header, prefix and own tokens."""
    own: Indices
    """A row: the first of its own tokens in the pool; likewise ``prefix``."""
    prefix: Indices
    prefix_tokens: Indices

    @classmethod
    def of(cls, call: Call, rows: Sequence[int]) -> Self:
        """Every prefix once, in the dtype of the queries."""
        prefixes = [call.prefixes[row] for row in rows]
        distinct = {id(extent): extent for extent in prefixes if extent is not None}
        header = 0 if call.header is None else len(call.header.k)
        parts = [] if call.header is None else [call.header]
        parts += [Extent(call.k, call.v), *(plain(e, call.q.dtype) for e in distinct.values())]
        starts = np.cumsum([header, len(call.k), *(len(e.k) for e in distinct.values())])[1:]
        places = dict(zip(distinct, starts.tolist(), strict=False))
        tokens = _whole([0 if extent is None else len(extent.k) for extent in prefixes])
        cu_q, cu_k = _whole(call.cu_q), _whole(call.cu_k)
        own = np.diff(cu_k)[rows]
        return cls(
            torch.cat([part.k for part in parts]).flatten(0, 1),
            torch.cat([part.v for part in parts]).flatten(0, 1),
            header,
            cu_q[rows],
            np.diff(cu_q)[rows],
            header + tokens + own,
            header + cu_k[rows],
            _whole([places.get(id(extent), 0) for extent in prefixes]),
            tokens,
        )

    def keys_values(self, some: Indices, shape: Shape, kv_heads: int) -> tuple[Tensor, Tensor]:
        """Of some rows, head-major: [rows * kv_heads, keys, head_dim]."""
        at = self._tokens(some, shape)[:, None] * kv_heads + np.arange(kv_heads)[:, None]
        where = sent(torch.from_numpy(at.ravel()), self.k.device)
        whole = len(some) * kv_heads, shape.keys, self.k.shape[1]
        return self.k.index_select(0, where).view(whole), self.v.index_select(0, where).view(whole)

    def _tokens(self, some: Indices, shape: Shape) -> Indices:
        """[rows, keys]: where in the pool; a row is padded with its own first token."""
        at = np.arange(shape.keys)[None]
        before = (self.header + self.prefix_tokens)[some, None]
        own = self.own[some, None]
        found = np.where(at < self.keys[some, None], own + at - before, own)
        found = np.where(at < before, self.prefix[some, None] + at - self.header, found)
        return np.where(at < self.header, at, found)


def _attend(
    call: Call, pool: _Pool, some: Indices, shape: Shape, out: Tensor, lse: Tensor | None
) -> None:
    heads, dim = call.q.shape[1:]
    kv_heads, device = call.k.shape[1], call.q.device
    count = pool.queries[some, None]
    at = np.arange(shape.queries)[None]
    rows = sent(torch.from_numpy(pool.first[some, None] + np.minimum(at, count - 1)), device)
    q = (call.q[rows] * dim**-0.5).view(*rows.shape, kv_heads, -1, dim).permute(0, 2, 3, 1, 4)
    keys, values = pool.keys_values(some, shape, kv_heads)
    scores = torch.bmm(q.reshape(len(keys), -1, dim), keys.transpose(1, 2))
    # [rows, heads, queries, keys]
    view = scores.view(len(some), heads, shape.queries, shape.keys)
    first, blocked = _blocked(pool, some, shape)
    view[..., first:] += sent(blocked, device).to(q.dtype)
    wide = torch.promote_types(q.dtype, torch.float32)
    weights = torch.softmax(scores, dim=-1, dtype=wide).to(q.dtype)
    attended = torch.bmm(weights, values).view(len(some), heads, shape.queries, dim)
    real = sent(torch.from_numpy(at < count), device)
    out[rows[real]] = attended.transpose(1, 2)[real]
    if lse is not None:
        lse[rows[real]] = view.to(wide).logsumexp(-1).transpose(1, 2)[real].to(lse.dtype)


def _blocked(pool: _Pool, some: Indices, shape: Shape) -> tuple[int, Tensor]:
    """The first key that some query does not see; from there on, -inf where one does not.

    The mask is [rows, 1, queries, keys from the first on], float32.
    """
    sight = (pool.keys - pool.queries)[some]
    first = int(sight.min()) + 1
    last = sight[:, None, None] + np.arange(shape.queries)[:, None]
    hidden = np.arange(first, shape.keys) > last
    return first, torch.from_numpy(np.where(hidden, np.float32("-inf"), np.float32(0)))[:, None]


def _power(number: int) -> int:
    """The power of two that is not below ``number``."""
    return 1 << (number - 1).bit_length()


def _whole(numbers: Sequence[int]) -> Indices:
    return np.asarray(numbers, dtype=np.int64)
