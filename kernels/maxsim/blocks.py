"""The document side of the blocked backend: pool rows made ready, multiplied, and reduced."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .arithmetic import Product, multiplied_in
from .call import Call
from .groups import Group, in_place, widest
from .pooling import Pooling, kept

_NUMBERS = 2**22
"""Of a product, 16 MiB in float32: with fewer, the calls between them cost more than is saved."""

_BOOKKEEPING = 64
"""Bytes a row: its place in the pool, its segment, its weight, and what they are made from."""

_REDUCED = 28
"""Bytes a query token and document: the maximum twice in float32 and once in float64, the sum."""


class Blocks:
    """What the tokens of a call's documents meet, in buffers that are used for every block."""

    def __init__(self, call: Call, tokens: int) -> None:
        """For at most ``tokens`` query tokens at a time. Raises ValueError for no room at all."""
        self._queries, self._side = call.queries.vectors, call.documents
        pool = self._side.vectors
        self._dtype = multiplied_in(self._queries.dtype, pool.dtype)
        self.rows = _rows_a_block(call, self._dtype, tokens)
        """Rows of a block, at most."""
        height = min(widest(self.rows), len(pool))
        self._product = Product(self._dtype, height, tokens)
        self._gathered = torch.empty(self.rows * pool.shape[1], dtype=pool.dtype)
        converted = height * pool.shape[1] if pool.dtype is not self._dtype else 0
        self._converted = torch.empty(converted, dtype=self._dtype)
        self._counting = torch.arange(height)
        self._ones = torch.ones(height, dtype=self._product.dtype)

    def best(self, group: Group, tokens: slice) -> Tensor:
        """Largest product of each query token with a token of each document.

        float32 [documents of the group, tokens], -inf for a document without tokens; the queries'
        scales are left out.
        """
        queries = self._queries[tokens].to(self._dtype)
        best: Tensor | None = None
        for piece in group.pieces(self.rows):
            vectors, pooling = self._load(piece)
            here = pooling.amax(self._product(vectors, queries)).float()
            best = here if best is None else torch.maximum(best, here)
        assert best is not None, "a group has rows"
        return best

    def alive(self, group: Group) -> Tensor:
        """bool [documents of the group]: has a token that exists."""
        alive = torch.zeros(len(group.documents), dtype=torch.bool)
        if self._side.mask is None:
            return alive.fill_(True)
        for piece in group.pieces(self.rows):
            exist = self._side.mask[piece.rows()].numpy()
            alive |= torch.from_numpy(np.logical_or.reduceat(exist, piece.bounds[:-1]))
        return alive

    def _load(self, piece: Group) -> tuple[Tensor, Pooling]:
        """Rows [height, dim] to multiply, and which of them belong to which document."""
        low, high = piece.span
        where: slice | Tensor
        columns = None
        if in_place(piece):
            where = slice(low, high)
            vectors = self._side.vectors[low:high]
            columns = None if piece.seamless else piece.rows() - low
        else:
            where = piece.rows()
            shape = len(where), self._side.vectors.shape[1]
            room = self._gathered[: shape[0] * shape[1]].view(shape)
            vectors = torch.index_select(self._side.vectors, 0, where, out=room)
        if vectors.dtype is not self._dtype:
            vectors = self._converted[: vectors.numel()].view(vectors.shape).copy_(vectors)
        return vectors, self._pooling(piece, where, columns, len(vectors))

    def _pooling(
        self, piece: Group, where: slice | Tensor, columns: Tensor | None, height: int
    ) -> Pooling:
        """``columns``: the product's row of each token, None for one after the other."""
        bounds = torch.from_numpy(piece.bounds)
        weights = self._ones if self._side.scales is None else self._side.scales[where]
        if columns is None and self._side.mask is None:
            columns = self._counting[:height]
        else:
            columns = self._counting[:height] if columns is None else columns
            if self._side.mask is not None:
                bounds, columns = kept(bounds, columns, self._side.mask[where])
            weights = weights.index_select(0, columns)
        return Pooling(bounds, columns, weights[: len(columns)], height)


def _rows_a_block(call: Call, dtype: torch.dtype, tokens: int) -> int:
    """As many as ``block_bytes`` holds of everything that is made, but no more than cache well."""
    pool = call.documents.vectors
    row = pool.shape[1] * (pool.element_size() + dtype.itemsize * (pool.dtype is not dtype))
    row += tokens * (Product.bytes_a_number(dtype) + _REDUCED) + _BOOKKEEPING
    # Of the block, not of its rows: the query tokens as they are multiplied.
    given = call.queries.vectors
    copied = given.dtype is not dtype or not given.is_contiguous()
    spare = tokens * pool.shape[1] * dtype.itemsize * copied
    most = (call.block_bytes - spare) * 4 // (widest(4) * row)
    if most < 1:
        raise ValueError(
            f"block_bytes is {call.block_bytes}: too little for a row of {pool.shape[1]} numbers "
            f"beside {tokens} query tokens; give {spare + 2 * row} or more"
        )
    return max(1, min(most, _NUMBERS // max(tokens, 1), len(pool)))
