"""MaxSim on CUDA devices: one Triton program a (document, query), a running maximum over rows.

Nothing between the vectors and the score leaves the chip. A program takes 16 to 64 of its query's
tokens at a time, goes over the document's rows 64 or 128 at a time, and multiplies as [rows, dim] x
[dim, tokens], so that the long side is the one tensor cores want long. Neighbouring programs have
one document, whose rows are then in the L2 cache.

float32 is multiplied in float32: TF32 would keep ten bits of each factor. Compiled for
sm_80 and sm_90 and run by Triton's interpreter in the tests; not yet measured on a device.
"""

# Triton's decorator has no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from minireranker.errors import ConfigurationError

from .call import Call, Tokens

__all__ = ["Launch", "constants", "kernel", "launch_of", "score"]

_PROGRAMS = 2**31 - 1
"""Of one launch, at most (CUDA's limit on the grid's first axis)."""


_TRITON = {
    torch.float32: tl.float32,
    torch.bfloat16: tl.bfloat16,
    torch.float16: tl.float16,
    torch.int8: tl.int8,
}


@dataclass(frozen=True)
class Launch:
    """How the kernel is cut, a function of the call's shapes and dtypes alone."""

    tokens: int
    """Query tokens at a time."""
    rows: int
    """Document rows at a time."""
    inner: int
    """Of dim, at a time."""
    num_warps: int
    num_stages: int


def launch_of(dim: int, longest_query: int, dtype: torch.dtype) -> Launch:
    """What to launch for vectors of ``dim`` multiplied in ``dtype``."""
    tokens = min(64, max(16, triton.next_power_of_2(longest_query)))
    rows, most = (64, 32) if dtype is torch.float32 else (128, 128)
    inner = min(most, max(32, triton.next_power_of_2(dim)))
    # Four warps for 64 tokens spill registers on sm_80.
    return Launch(tokens, rows, inner, num_warps=8 if tokens == 64 else 4, num_stages=3)


@triton.jit
def kernel(
    queries: tl.tensor,
    query_mask: tl.tensor,
    query_scales: tl.tensor,
    cu_seqlens: tl.tensor,
    documents: tl.tensor,
    document_mask: tl.tensor,
    document_scales: tl.tensor,
    starts: tl.tensor,
    lengths: tl.tensor,
    out: tl.tensor,
    first: tl.tensor,
    n_queries: tl.tensor,
    n_documents: tl.tensor,
    query_stride: tl.tensor,
    document_stride: tl.tensor,
    DIM: tl.constexpr,
    MEAN: tl.constexpr,
    QUERY_MASK: tl.constexpr,
    DOCUMENT_MASK: tl.constexpr,
    QUERY_SCALES: tl.constexpr,
    DOCUMENT_SCALES: tl.constexpr,
    FACTOR: tl.constexpr,
    SUM: tl.constexpr,
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    INNER: tl.constexpr,
) -> None:
    """Score document ``first + program // n_queries`` for query ``program % n_queries``.

    FACTOR, SUM: the dtypes that are multiplied in and added in. Strides are of rows; the numbers of
    a row are adjacent.
    """
    program = tl.program_id(0)
    document = first + program // n_queries
    query = program % n_queries
    start = tl.load(starts + document)
    length = tl.load(lengths + document)
    begin = tl.load(cu_seqlens + query)
    end = tl.load(cu_seqlens + query + 1)
    total = 0.0
    count = 0.0
    exist = 0
    # An empty query still has to know whether its document exists: one round at least.
    for token in range(begin, tl.maximum(end, begin + 1), TOKENS):
        tokens = token + tl.arange(0, TOKENS)
        present = tokens < end
        if QUERY_MASK:
            present &= tl.load(query_mask + tokens, mask=present, other=0) != 0
        best = tl.full([TOKENS], float("-inf"), tl.float32)
        spoilt = tl.zeros([TOKENS], tl.int32)
        exist = 0
        for row in range(start, start + length, ROWS):
            rows = row + tl.arange(0, ROWS)
            owned = rows < start + length
            if DOCUMENT_MASK:
                owned &= tl.load(document_mask + rows, mask=owned, other=0) != 0
            met = tl.zeros([ROWS, TOKENS], SUM)
            for k in range(0, DIM, INNER):
                inner = k + tl.arange(0, INNER)
                left = tl.load(
                    documents + rows[:, None] * document_stride + inner[None, :],
                    mask=owned[:, None] & (inner < DIM)[None, :],
                    other=0,
                ).to(FACTOR)
                right = tl.load(
                    queries + tokens[None, :] * query_stride + inner[:, None],
                    mask=present[None, :] & (inner < DIM)[:, None],
                    other=0,
                ).to(FACTOR)
                met = tl.dot(left, right, met, input_precision="ieee", out_dtype=SUM)
            products = met.to(tl.float32)
            if DOCUMENT_SCALES:
                products *= tl.load(document_scales + rows, mask=owned, other=0)[:, None]
            products = tl.where(owned[:, None], products, float("-inf"))
            best = tl.maximum(best, tl.max(products, 0))
            # Maxima pass over NaN.
            spoilt = tl.maximum(spoilt, tl.max((products != products).to(tl.int32), 0))
            exist += tl.sum(owned.to(tl.int32), 0)
        best = tl.where(spoilt > 0, float("nan"), best)
        best = tl.where(present & (exist > 0), best, 0.0)
        if QUERY_SCALES:
            best *= tl.load(query_scales + tokens, mask=present, other=0)
        total += tl.sum(best, 0)
        count += tl.sum(present.to(tl.float32), 0)
    if MEAN:
        total /= tl.maximum(count, 1.0)
    score = tl.where(exist > 0, total, float("-inf"))
    tl.store(out + query.to(tl.int64) * n_documents + document, score)


def score(call: Call) -> Tensor:
    """See ``maxsim``. Raises ConfigurationError for tensors that are not on a CUDA device."""
    device = call.documents.vectors.device
    interpreted = not isinstance(kernel, triton.JITFunction)
    if device.type != "cuda" and not interpreted:
        raise ConfigurationError(
            f"maxsim's backend 'triton' runs on CUDA devices, not on {device}; take backend='auto'"
        )
    out = torch.empty(call.shape, device=device)
    cu_seqlens = torch.tensor(call.cu_seqlens_q, dtype=torch.int64, device=device)
    extents = [part.to(device).contiguous() for part in (call.starts, call.lengths)]
    options = _options(call, interpreted)
    sides = [_pointers(side) for side in (call.queries, call.documents)]
    strides = [side[0].stride(0) for side in sides]
    n_queries, n_documents = call.shape
    step = _PROGRAMS // max(1, n_queries)
    for first in range(0, n_documents if n_queries else 0, step):
        grid = (min(step, n_documents - first) * n_queries,)
        sizes = first, n_queries, n_documents, *strides
        kernel[grid](*sides[0], cu_seqlens, *sides[1], *extents, out, *sizes, **options)
    return out


def _pointers(side: Tokens) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors, mask and scales; in place of what is missing, something that is never read."""
    vectors = side.vectors if side.vectors.stride(1) == 1 else side.vectors.contiguous()
    mask = vectors if side.mask is None else side.mask.contiguous().view(torch.uint8)
    return vectors, mask, vectors if side.scales is None else side.scales.contiguous()


def _options(call: Call, interpreted: bool) -> dict[str, Any]:
    """The kernel's constants and how it is compiled."""
    queries, documents = call.queries.vectors, call.documents.vectors
    factor = queries.dtype if queries.dtype is documents.dtype else torch.float32
    if interpreted and factor is torch.bfloat16:
        factor = torch.float32  # The interpreter's products of bfloat16 are wrong.
    spans = itertools.pairwise(call.cu_seqlens_q)
    longest = max((stop - start for start, stop in spans), default=1)
    launch = launch_of(queries.shape[1], max(1, longest), factor)
    return {
        **constants(call, factor, launch),
        "num_warps": launch.num_warps,
        "num_stages": launch.num_stages,
        "enable_fp_fusion": True,
    }


def constants(call: Call, factor: torch.dtype, launch: Launch) -> dict[str, Any]:
    """The kernel's compile-time arguments, for products of ``factor``."""
    return {
        "DIM": call.queries.vectors.shape[1],
        "MEAN": call.reduce == "mean",
        "QUERY_MASK": call.queries.mask is not None,
        "DOCUMENT_MASK": call.documents.mask is not None,
        "QUERY_SCALES": call.queries.scales is not None,
        "DOCUMENT_SCALES": call.documents.scales is not None,
        "FACTOR": _TRITON[factor],
        "SUM": tl.int32 if factor is torch.int8 else tl.float32,
        "TOKENS": launch.tokens,
        "ROWS": launch.rows,
        "INNER": launch.inner,
    }
