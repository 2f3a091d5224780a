"""Every MaxSim backend a CPU runs, against float64: as exact as plain torch, and nothing leaks."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minireranker.kernels.maxsim import maxsim

NAN = float("nan")
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int8]
MIXED = [
    (torch.float32, torch.bfloat16),
    (torch.float32, torch.int8),
    (torch.bfloat16, torch.float32),
    (torch.int8, torch.bfloat16),
]
SEEDS = range(4)
SMALLEST = 2**16


@dataclass(frozen=True)
class Case:
    """The arguments of one call. Tokens nobody owns are NaN, or 127 in int8."""

    queries: Tensor
    documents: Tensor
    cu_seqlens_q: list[int]
    starts: Tensor
    lengths: Tensor
    reduce: str = "sum"
    query_mask: Tensor | None = None
    document_mask: Tensor | None = None
    query_scales: Tensor | None = None
    document_scales: Tensor | None = None

    def score(self, backend: str, **options: int) -> Tensor:
        names = inspect.signature(maxsim).parameters
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return maxsim(
            **{name: given[name] for name in given if name in names}, backend=backend, **options
        )

    def of_documents(self, chosen: list[int]) -> Case:
        return dataclasses.replace(self, starts=self.starts[chosen], lengths=self.lengths[chosen])

    def of_query(self, at: int) -> Case:
        own = slice(self.cu_seqlens_q[at], self.cu_seqlens_q[at + 1])
        parts = {
            name: None if getattr(self, name) is None else getattr(self, name)[own]
            for name in ("queries", "query_mask", "query_scales")
        }
        return dataclasses.replace(self, **parts, cu_seqlens_q=[0, own.stop - own.start])


@dataclass(frozen=True)
class Shape:
    queries: list[int]
    extents: list[tuple[int, int]]
    """(start, length) in the pool."""
    pool: int
    dim: int
    masks: bool = False
    reduce: str = "sum"


def case_of(shape: Shape, seed: int, query: torch.dtype, document: torch.dtype) -> Case:
    random = torch.Generator().manual_seed(seed)
    cu = [0]
    for count in shape.queries:
        cu.append(cu[-1] + count)
    starts, lengths = torch.tensor(shape.extents, dtype=torch.int64).reshape(-1, 2).T.contiguous()
    owned_q, owned_d = torch.zeros(cu[-1] + 3).bool(), torch.zeros(shape.pool).bool()
    owned_q[: cu[-1]] = True
    for start, length in shape.extents:
        owned_d[start : start + length] = True
    masks = [torch.rand(len(owned), generator=random) < 0.6 for owned in (owned_q, owned_d)]
    parts = {}
    for name, owned, mask, dtype in (
        ("queries", owned_q, masks[0], query),
        ("documents", owned_d, masks[1], document),
    ):
        seen = owned & mask if shape.masks else owned
        vectors, scales = vectors_of(len(owned), shape.dim, dtype, random)
        vectors[~seen] = 127 if dtype is torch.int8 else NAN
        side = {"queries": "query", "documents": "document"}[name]
        if scales is not None:
            parts[f"{side}_scales"] = scales.masked_fill(~seen, NAN if side == "document" else 9e9)
        if shape.masks:
            parts[f"{side}_mask"] = mask
        parts[name] = vectors
    return Case(**parts, cu_seqlens_q=cu, starts=starts, lengths=lengths, reduce=shape.reduce)


def vectors_of(
    count: int, dim: int, dtype: torch.dtype, random: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    if dtype is torch.int8:
        whole = torch.randint(-128, 128, (count, dim), generator=random, dtype=torch.int8)
        return whole, torch.rand(count, generator=random)
    return torch.randn(count, dim, generator=random).to(dtype), None


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    pool = draw(st.integers(0, 90))
    extents = []
    for _ in range(draw(st.integers(0, 7))):
        start = draw(st.integers(0, pool))
        extents.append((start, draw(st.integers(0, pool - start))))
    return Shape(
        draw(st.lists(st.integers(0, 9), max_size=4)),
        extents,
        pool,
        draw(st.sampled_from([1, 3, 16, 40])),
        draw(st.booleans()),
        draw(st.sampled_from(["sum", "mean"])),
    )


def plain(case: Case, dtype: torch.dtype) -> Tensor:
    """The textbook formula in ``dtype``, every intermediate result rounded to it."""

    def rows(vectors: Tensor, scales: Tensor | None, mask: Tensor | None, own: slice) -> Tensor:
        scaled = vectors[own].to(dtype) * (1 if scales is None else scales[own, None].to(dtype))
        return scaled if mask is None else scaled[mask[own]]

    n_queries, n_documents = len(case.cu_seqlens_q) - 1, len(case.starts)
    out = torch.zeros(n_queries, n_documents, dtype=dtype)
    for i in range(n_queries):
        own = slice(case.cu_seqlens_q[i], case.cu_seqlens_q[i + 1])
        query = rows(case.queries, case.query_scales, case.query_mask, own)
        for d in range(n_documents):
            own = slice(int(case.starts[d]), int(case.starts[d] + case.lengths[d]))
            document = rows(case.documents, case.document_scales, case.document_mask, own)
            if not len(document):
                out[i, d] = float("-inf")
            elif len(query):
                met = (query @ document.T).amax(1)
                out[i, d] = met.mean() if case.reduce == "mean" else met.sum()
    return out


def assert_as_exact_as_plain_torch(cases: list[Case], backend: str, **options: int) -> None:
    """Error against float64 at most twice that of plain torch, plus one rounding.

    Over several calls of one shape: in a call of a few numbers either may be exact by luck. Plain
    torch takes the coarser of both sides' dtypes where one is bfloat16, float32 otherwise.
    """
    dtypes = {cases[0].queries.dtype, cases[0].documents.dtype}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    dtype = torch.float32 if dtype is torch.int8 else dtype
    ours = theirs = largest = 0.0
    for case in cases:
        exact = plain(case, torch.float64)
        got = case.score(backend, **options)
        assert got.dtype is torch.float32
        assert got.shape == exact.shape
        assert torch.equal(got.isneginf(), exact.isneginf())
        alive = ~exact.isneginf()
        if not alive.any():
            continue
        ours = max(ours, float((got[alive].double() - exact[alive]).abs().max()))
        theirs = max(theirs, float((plain(case, dtype)[alive].double() - exact[alive]).abs().max()))
        largest = max(largest, float(exact[alive].abs().max()))
    allowed = 2 * theirs + torch.finfo(dtype).eps * largest
    assert ours <= allowed, f"{backend}: {ours} against plain torch's {theirs}"


@pytest.mark.parametrize(("query", "document"), [*zip(DTYPES, DTYPES, strict=True), *MIXED])
@pytest.mark.parametrize("backend", ["reference", "blocked"])
@settings(max_examples=25, deadline=None)
@given(shape=shapes())
def test_error_is_within_twice_that_of_plain_torch(
    backend: str, query: torch.dtype, document: torch.dtype, shape: Shape
) -> None:
    cases = [case_of(shape, seed, query, document) for seed in SEEDS]
    assert_as_exact_as_plain_torch(cases, backend)


BIG = Shape(
    [7, 600, 0, 33],
    [(4000, 2500), (10, 64), (74, 100), (200, 1), (201, 0), (174, 26), (4100, 40), (9000, 3)],
    9100,
    40,
)
"""More query tokens than a product has; with small blocks, documents longer than a block, and
neighbours with and without gaps between them."""


@pytest.mark.parametrize("block_bytes", [SMALLEST * 2, 2**19, 64 * 2**20])
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize(("query", "document"), [*zip(DTYPES, DTYPES, strict=True), MIXED[1]])
def test_documents_and_queries_longer_than_a_block(
    query: torch.dtype, document: torch.dtype, masks: bool, block_bytes: int
) -> None:
    shape = dataclasses.replace(BIG, masks=masks, reduce="mean" if masks else "sum")
    case = case_of(shape, 0, query, document)
    assert_as_exact_as_plain_torch([case], "blocked", block_bytes=block_bytes)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=15, deadline=None)
@given(shape=shapes(), data=st.data())
def test_a_score_does_not_depend_on_what_else_is_asked(
    dtype: torch.dtype, shape: Shape, data: st.DataObject
) -> None:
    case = case_of(shape, 0, dtype, dtype)
    whole = case.score("blocked")
    tolerance = 2e-2 if dtype is torch.bfloat16 else 1e-4
    if whole.shape[1]:
        chosen = data.draw(st.lists(st.integers(0, whole.shape[1] - 1), min_size=1, max_size=4))
        part = case.of_documents(chosen).score("blocked")
        torch.testing.assert_close(part, whole[:, chosen], rtol=tolerance, atol=tolerance)
    for at in range(whole.shape[0]):
        alone = case.of_query(at).score("blocked")
        torch.testing.assert_close(alone, whole[at : at + 1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("backend", ["reference", "blocked"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_views_with_strides_are_read_as_they_are(backend: str, dtype: torch.dtype) -> None:
    """A Matryoshka cut of a pool, and a pool kept column by column."""
    case = case_of(Shape([5, 9], [(3, 30), (33, 20)], 60, 40), 0, dtype, dtype)
    cut = dataclasses.replace(case, queries=case.queries[:, :16], documents=case.documents[:, :16])
    expected = dataclasses.replace(
        cut, queries=cut.queries.contiguous(), documents=cut.documents.contiguous()
    ).score("reference")
    torch.testing.assert_close(cut.score(backend), expected, rtol=1e-5, atol=1e-4)
    turned = dataclasses.replace(case, documents=case.documents.T.contiguous().T)
    torch.testing.assert_close(turned.score(backend), case.score("reference"), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("dim", [1, 2, 24])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_may_lie_anyhow_in_memory(dtype: torch.dtype, dim: int, count: int) -> None:
    """One row many times, rows that overlap, every second number: on either side."""
    random = torch.Generator().manual_seed(0)
    flat = vectors_of(1, 3 * 60 * dim, dtype, random)[0].flatten()
    scales = torch.rand(60, generator=random) if dtype is torch.int8 else None
    strides = [(0, 1), (1, 1), (2 * dim, 2), (1, 60), (3 * dim, 1)]
    cases = [
        Case(
            flat[1:].as_strided((count, dim), query),
            flat.as_strided((60, dim), document),
            [0, count],
            torch.tensor([0, 7, 59]),
            torch.tensor([60, 2, 1]),
            query_scales=None if scales is None else scales[:count],
            document_scales=scales,
        )
        for query, document in itertools.product(strides, strides)
    ]
    assert_as_exact_as_plain_torch(cases, "blocked")


@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_nan_in_a_document_is_not_passed_over(backend: str) -> None:
    case = case_of(Shape([3, 4], [(0, 5), (5, 5), (2, 2)], 12, 8), 0, *[torch.float32] * 2)
    case.documents[6, 3] = NAN
    assert torch.equal(case.score(backend).isnan(), torch.tensor([[False, True, False]] * 2))


@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_nothing_is_mutated_and_no_gradient_is_kept(backend: str) -> None:
    case = case_of(BIG, 0, torch.float32, torch.float32)
    before = case.documents.clone(), case.queries.clone()
    case.documents.requires_grad_()
    assert not case.score(backend, block_bytes=2**20).requires_grad
    assert torch.equal(case.documents.detach().nan_to_num(7.0), before[0].nan_to_num(7.0))
    assert torch.equal(case.queries.nan_to_num(7.0), before[1].nan_to_num(7.0))


def test_more_documents_than_are_planned_at_a_time() -> None:
    """In falling order, so that each window is sorted on its own."""
    count = 2**16 + 5
    random = torch.Generator().manual_seed(0)
    pool = torch.randn(count, 2, generator=random)
    query = torch.randn(3, 2, generator=random)
    starts = torch.arange(count).flip(0)
    got = maxsim(
        query,
        pool,
        cu_seqlens_q=[0, 3],
        starts=starts,
        lengths=torch.ones(count, dtype=torch.int64),
    )
    expected = (pool @ query.T).sum(1).flip(0)
    torch.testing.assert_close(got[0], expected, rtol=1e-5, atol=1e-5)
