"""Documents whose vectors follow from their names, and an encoder's part of scoring."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.kernels.maxsim import maxsim
from minireranker.retrieval.vector_index import VectorIndex
from minireranker.retrieval.vectors import TokenVectors

DIM, POOLED_DIM = 16, 8


def tokens_of(name: str, version: int = 0, dim: int = DIM, most: int = 6) -> Tensor:
    """[0 to most, dim] float32 of unit length."""
    return _unit(name, version, 1, None, dim, most)


def pooled_of(name: str, version: int = 0, dim: int = POOLED_DIM) -> Tensor:
    """[dim] float32 of unit length."""
    return _unit(name, version, 2, 1, dim, 1)[0]


def _unit(name: str, version: int, kind: int, rows: int | None, dim: int, most: int) -> Tensor:
    draw = np.random.default_rng([zlib.crc32(name.encode()), version, kind])
    rows = int(draw.integers(0, most + 1)) if rows is None else rows
    values = draw.standard_normal((rows, dim), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return torch.from_numpy(values)


def vectors_of(
    documents: Mapping[str, int], dim: int = DIM, pooled: int = POOLED_DIM
) -> TokenVectors:
    """Of names and versions; ``dim`` or ``pooled`` 0: without."""
    pairs = documents.items()
    rows = torch.stack([pooled_of(*pair, pooled) for pair in pairs]) if pooled else None
    if dim:
        return TokenVectors.of([tokens_of(*pair, dim) for pair in pairs], rows)
    return TokenVectors(torch.empty(0, 0), np.zeros(len(documents) + 1, np.int64), None, rows)


def kept_of(index: VectorIndex, ids: Sequence[str]) -> dict[str, tuple[bytes, bytes, bytes]]:
    """Each document's tokens, scales and pooled vector, as the index has them, to the bit."""
    found = {}
    for rows in index.rows(ids):
        for at, place in enumerate(rows.places.tolist()):
            first, last = int(rows.starts[at]), int(rows.starts[at] + rows.lengths[at])
            scales = None if rows.scales is None else rows.scales[first:last]
            own = (rows.pool[first:last], scales, None if rows.pooled is None else rows.pooled[at])
            found[ids[place]] = tuple(map(_bytes, own))
    return {name: found[name] for name in ids}


def _bytes(tensor: Tensor | None) -> bytes:
    if tensor is None:
        return b""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def files_of(path: Path) -> dict[str, int]:
    """Bytes of all files of an index, but the lock."""
    return {item.name: item.stat().st_size for item in path.iterdir() if item.name != "lock"}


class SumOfMaxima:
    """Scores as ColBERT does: what an index needs of an encoder."""

    def score_rows(
        self,
        queries: TokenVectors,
        pool: Tensor,
        scales: Tensor | None,
        starts: Tensor,
        lengths: Tensor,
        pooled: Tensor | None,
    ) -> NDArray[np.float32]:
        """[n_queries, n]."""
        ends = queries.cu_seqlens.tolist()
        where = {"cu_seqlens_q": ends, "starts": starts, "lengths": lengths}
        return maxsim(queries.vectors, pool, document_scales=scales, **where).numpy()
