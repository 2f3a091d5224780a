"""The contract of MaxSim: what every backend computes. Arguments are checked in ``call.py``.

    maxsim(Q, D) = reduce_i max_j <Q_i, D_j>

Source: late interaction of ColBERT (arXiv 2004.12832, equation 3); "mean" is SMART's (arXiv
2605.24938). Documents are extents of one pool of vectors, so that leaving one out, taking a prefix
of each, or scoring a list of candidates needs no copy of the pool.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minireranker.errors import ConfigurationError, MissingDependencyError

from .call import Call, Tokens

BACKENDS = ("reference", "blocked", "triton")
"""reference: float64, defines the result. blocked: matrix products over blocks of the pool, for
CPUs. triton: one program a (document, query), for CUDA devices; not yet measured on one."""


def choose_backend(device: torch.device) -> str:
    """The backend ``"auto"`` stands for on a device."""
    return {"cpu": "blocked", "cuda": "triton"}.get(device.type, "reference")


def maxsim(
    queries: Tensor,
    documents: Tensor,
    *,
    cu_seqlens_q: Sequence[int],
    starts: Tensor,
    lengths: Tensor,
    reduce: str = "sum",
    query_mask: Tensor | None = None,
    document_mask: Tensor | None = None,
    query_scales: Tensor | None = None,
    document_scales: Tensor | None = None,
    backend: str = "auto",
    block_bytes: int = 64 * 2**20,
) -> Tensor:
    """Score every query against every document: float32 [n_queries, n_documents].

    ``queries`` [total_q, dim] and ``documents`` [total_d, dim], a pool: each float32, bfloat16,
    float16, or int8 with a float32 scale a token in ``query_scales`` [total_q] (not negative) or
    ``document_scales`` [total_d]. They need not be of unit length, nor of one dtype: products are
    in bfloat16 where both are (rounded once), in integers where both are int8 (exact), as far as
    the device is fast at it, and in float32 otherwise; the sum over tokens is in float32 at least.
    ``cu_seqlens_q``: n_queries + 1 host integers, query i owns rows ``[cu[i], cu[i + 1])``; rows
    past the last are padding. ``starts``, ``lengths``: int64 [n_documents], document d owns pool
    rows ``[starts[d], starts[d] + lengths[d])``; extents come in any order, may overlap, and leave
    gaps, whose contents do not matter. Masks: bool [total_q], [total_d]; a token marked False does
    not exist. ``reduce``: "sum" or "mean" over the query's tokens.

    A document without tokens scores -inf for every query: there is nothing to meet. A query without
    tokens scores 0 for every other document. NaN inside an extent makes its document's scores NaN.

    ``documents`` may be a mapped file of any size: on the CPU it is read once, a block at a time,
    and everything made on the way stays within ``block_bytes``, but for the result, 24 bytes a
    query token, 16 a document, and a few MiB that planning and the matrix library take. Other
    backends ignore ``block_bytes``.

    Mutates nothing, and is not differentiable. Raises ConfigurationError for an unknown backend or
    one that cannot run here, MissingDependencyError for triton where it is not installed, and
    ValueError for arguments that contradict each other.
    """
    name = choose_backend(documents.device) if backend == "auto" else backend
    if name not in BACKENDS:
        raise ConfigurationError(
            f"maxsim has no backend {name!r}; use one of {', '.join(BACKENDS)} or 'auto'"
        )
    call = Call(
        Tokens("queries", queries, query_mask, query_scales),
        Tokens("documents", documents, document_mask, document_scales),
        tuple(cu_seqlens_q),
        starts,
        lengths,
        reduce,
        block_bytes,
    )
    run = _load(name)
    with torch.no_grad():
        return run(call)


def _load(name: str) -> Callable[[Call], Tensor]:
    try:
        run: Callable[[Call], Tensor] = importlib.import_module(f".{name}", __package__).score
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise MissingDependencyError(
            "maxsim's backend 'triton' needs the package triton: install it, or a CUDA build of "
            "torch, which brings it; or take backend='reference'"
        ) from error
    return run
