"""Calls of MaxSim's Triton kernel in Triton's interpreter: run with TRITON_INTERPRET=1.

A process of its own, because the variable counts only when the kernel's module is imported. Prints
one line a call: its name, the largest error, what plain torch's is, and how large the scores are.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from minireranker.kernels.maxsim import maxsim

NAN = float("nan")
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int8)


def vectors_of(count: int, dim: int, dtype: torch.dtype, seed: int) -> tuple[Tensor, Tensor | None]:
    random = torch.Generator().manual_seed(seed)
    if dtype is torch.int8:
        whole = torch.randint(-128, 128, (count, dim), generator=random, dtype=torch.int8)
        return whole, torch.rand(count, generator=random)
    return torch.randn(count, dim, generator=random).to(dtype), None


def compare(query: torch.dtype, document: torch.dtype, dim: int, masks: bool, reduce: str) -> None:
    """Odd sizes: more query tokens than a program takes at a time, gaps, overlaps, nothing."""
    queries, query_scales = vectors_of(104, dim, query, 0)
    documents, document_scales = vectors_of(331, dim, document, 1)
    for vectors, rows in ((queries, slice(101, None)), (documents, slice(150, 161))):
        vectors[rows] = 127 if vectors.dtype is torch.int8 else NAN
    random = torch.Generator().manual_seed(2)
    call = {
        "cu_seqlens_q": [0, 1, 1, 80, 101],
        "starts": torch.tensor([161, 0, 7, 331, 149, 40]),
        "lengths": torch.tensor([170, 150, 33, 0, 1, 0]),
        "reduce": reduce,
        "query_scales": query_scales,
        "document_scales": document_scales,
        "query_mask": torch.rand(104, generator=random) < 0.7 if masks else None,
        "document_mask": torch.rand(331, generator=random) < 0.7 if masks else None,
    }
    exact = maxsim(queries, documents, **call, backend="reference")
    got = maxsim(queries, documents, **call, backend="triton")
    assert torch.equal(got.isneginf(), exact.isneginf())
    alive = ~exact.isneginf()
    largest = float(exact[alive].abs().max())
    error = float((got - exact)[alive].abs().max()) / largest
    print(query, document, dim, masks, reduce, error)


def nan_is_kept() -> None:
    queries, documents = torch.ones(3, 5), torch.ones(9, 5)
    documents[4, 2] = NAN
    got = maxsim(
        queries,
        documents,
        cu_seqlens_q=[0, 3],
        starts=torch.tensor([0, 3]),
        lengths=torch.tensor([3, 4]),
        backend="triton",
    )
    assert got.isnan().tolist() == [[False, True]]


if __name__ == "__main__":
    for dtype, dim in itertools.product(DTYPES, (1, 40, 131)):
        compare(dtype, dtype, dim, dim == 40, "mean" if dim == 131 else "sum")
    compare(torch.float32, torch.int8, 40, True, "sum")
    compare(torch.bfloat16, torch.float32, 40, False, "mean")
    nan_is_kept()
