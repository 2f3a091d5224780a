"""The two products every score is made of, over vectors as an index keeps them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from minireranker.errors import ConfigurationError
from minireranker.kernels.maxsim import maxsim
from minireranker.retrieval.vectors import TokenVectors


def interaction(
    queries: TokenVectors,
    pool: Tensor,
    scales: Tensor | None,
    starts: Tensor,
    lengths: Tensor,
    *,
    reduce: str,
) -> NDArray[np.float32]:
    """MaxSim [queries, documents] over rows of a pool; ``reduce`` is "sum" or "mean".

    Raises ConfigurationError for vectors of different widths.
    """
    if pool.shape[-1] != queries.dim:
        raise ConfigurationError(
            f"the queries' vectors have {queries.dim} numbers, the documents' {pool.shape[-1]}: "
            "encode both with one encoder"
        )
    if not len(queries) or not len(starts):
        return np.zeros((len(queries), len(starts)), np.float32)
    found = maxsim(
        queries.vectors,
        pool,
        cu_seqlens_q=queries.cu_seqlens.tolist(),
        starts=starts,
        lengths=lengths,
        reduce=reduce,
        query_scales=queries.scales,
        document_scales=scales,
    )
    return found.cpu().numpy()


def cosine(queries: TokenVectors, pooled: Tensor | None) -> NDArray[np.float32]:
    """Products [queries, documents] of the pooled vectors, which have unit length.

    Raises ConfigurationError where a side has none, or they are of different widths.
    """
    if queries.pooled is None or pooled is None:
        side = "queries" if queries.pooled is None else "documents"
        raise ConfigurationError(f"the {side} have no pooled vectors: encode both with one encoder")
    if queries.pooled.shape[1] != pooled.shape[1]:
        raise ConfigurationError(
            f"the queries' pooled vectors have {queries.pooled.shape[1]} numbers, the documents' "
            f"{pooled.shape[1]}: encode both with one encoder"
        )
    out: NDArray[np.float32] = (queries.pooled.float() @ pooled.float().T).numpy()
    return out
