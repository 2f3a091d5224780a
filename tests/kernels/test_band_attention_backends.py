"""Every backend against float64: as exact as plain torch, and nothing but its own row matters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minireranker.kernels.band_attention import Extent, packed

BACKENDS = ("reference", "sdpa", "packed")
"""Those that run on a CPU; the others have files of their own."""
FAST = [backend for backend in BACKENDS if backend != "reference"]
DTYPES = [torch.float32, torch.bfloat16]
SEEDS = range(8)


def plain(case: Any) -> Tensor:
    """The textbook formula in the inputs' own dtype, every intermediate result rounded to it."""
    out = torch.zeros_like(case.q)
    group = case.q.shape[1] // case.k.shape[1]
    for row, prefix in enumerate(case.prefixes):
        part = slice(case.cu_q[row], case.cu_q[row + 1])
        own = slice(case.cu_k[row], case.cu_k[row + 1])
        seen = [extent for extent in (case.header, prefix) if extent is not None]
        keys = torch.cat([*(extent.k for extent in seen), case.k[own]])
        values = torch.cat([*(extent.v for extent in seen), case.v[own]])
        keys, values = (t.repeat_interleave(group, 1).transpose(0, 1) for t in (keys, values))
        scores = case.q[part].transpose(0, 1) @ keys.transpose(1, 2) * case.q.shape[2] ** -0.5
        blocked = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device)
        blocked = blocked.triu(scores.shape[2] - scores.shape[1] + 1)
        weights = scores.masked_fill(blocked, float("-inf")).softmax(-1)
        out[part] = (weights @ values).transpose(0, 1)
    return out


def assert_as_exact_as_plain_torch(cases: list[Any], backend: str) -> None:
    """Error against float64 at most twice that of plain torch, plus one rounding.

    Over several calls of one shape: in a call of a few numbers either may be exact by luck.
    """
    ours = theirs = largest = 0.0
    for case in cases:
        exact = case.to(torch.float64).attend("reference")
        ours = max(ours, float((case.attend(backend).double() - exact).abs().max()))
        theirs = max(theirs, float((plain(case).double() - exact).abs().max()))
        largest = max(largest, float(exact.abs().max()))
    allowed = 2 * theirs + torch.finfo(cases[0].q.dtype).eps * largest
    assert ours <= allowed, f"{backend}: {ours} against plain torch's {theirs}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_error_is_within_twice_that_of_plain_torch(
    shapes: Any,
    case_of: Callable[..., Any],
    backend: str,
    dtype: torch.dtype,
    data: st.DataObject,
) -> None:
    shape = data.draw(shapes)
    assert_as_exact_as_plain_torch([case_of(shape, seed, dtype) for seed in SEEDS], backend)


QUANTISED = [torch.int8, torch.float8_e4m3fn]


@pytest.mark.parametrize("scales", ["token", "channel", "head"])
@pytest.mark.parametrize("numbers", QUANTISED)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_quantised_prefixes_are_their_numbers_times_their_scales(
    shapes: Any,
    case_of: Callable[..., Any],
    backend: str,
    dtype: torch.dtype,
    numbers: torch.dtype,
    scales: str,
    data: st.DataObject,
) -> None:
    case = case_of(data.draw(shapes), dtype=dtype).sharing().quantised(numbers, scales)
    values = dataclasses.replace(case, prefixes=[times_scales(e, dtype) for e in case.prefixes])
    if backend != "reference":
        assert torch.equal(case.attend(backend), values.attend(backend))
        return
    rounding = torch.finfo(dtype).eps * float(case.v[: case.cu_k[-1]].abs().max() + 5)
    torch.testing.assert_close(
        case.attend(backend), values.attend(backend), rtol=0, atol=4 * rounding
    )


def times_scales(extent: Extent | None, dtype: torch.dtype) -> Extent | None:
    if extent is None:
        return None
    k, v = extent.k.float() * extent.k_scale, extent.v.float() * extent.v_scale
    return Extent(k.to(dtype), v.to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_the_lse_beside_an_output_that_does_not_change(
    shapes: Any,
    case_of: Callable[..., Any],
    backend: str,
    dtype: torch.dtype,
    data: st.DataObject,
) -> None:
    case = case_of(data.draw(shapes), dtype=dtype)
    out, lse = case.attend_lse(backend)
    assert torch.equal(out, case.attend(backend))
    assert lse.dtype is torch.float32
    exact = case.to(torch.float64).attend_lse("reference")[1]
    rows = case.cu_q[-1]
    assert (lse[rows:] == float("-inf")).all()
    # A score is off by a rounding of the largest, and the LSE no more than the worst score.
    largest = float(case.q[:rows].float().norm(dim=2).max()) * 12
    assert (lse - exact)[:rows].abs().max() <= 2 * torch.finfo(dtype).eps * largest


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_that_share_a_document_are_as_if_each_had_its_own(
    shape_of: Any, case_of: Callable[..., Any], backend: str
) -> None:
    rows = [(3, 5, 9), (2, 2, None), (4, 4, 30), (1, 6, 30), (2, 2, None), (3, 3, None)]
    case = case_of(shape_of(rows, 5, 4, 2, 16)).sharing()
    assert case.call().runs() == [(0, 2), (2, 4), (4, 6)]
    copies = [None if e is None else Extent(e.k.clone(), e.v.clone()) for e in case.prefixes]
    apart = dataclasses.replace(case, prefixes=copies)
    assert apart.call().runs() == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 6)]
    assert torch.equal(case.attend(backend), apart.attend(backend))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_longer_than_a_block(
    shape_of: Any, case_of: Callable[..., Any], backend: str, dtype: torch.dtype
) -> None:
    long = 2 * packed._BLOCK + 9
    shape = shape_of([(3, 5, None), (long, long + 6, 37), (4, 4, 2)], 5, 2, 1, 16)
    assert_as_exact_as_plain_torch([case_of(shape, 0, dtype)], backend)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_row_alone_has_the_bits_it_has_in_company(
    shapes: Any,
    case_of: Callable[..., Any],
    backend: str,
    dtype: torch.dtype,
    data: st.DataObject,
) -> None:
    case = case_of(data.draw(shapes), dtype=dtype)
    whole = case.attend(backend)
    for row in range(len(case.prefixes)):
        part = whole[case.cu_q[row] : case.cu_q[row + 1]]
        alone = case.only(row)
        assert torch.equal(alone.attend(backend), part)
        assert torch.equal(moved(alone, backend).attend(backend), part), "at another address"


def moved(case: Any, backend: str) -> Any:
    """The same numbers elsewhere in memory, as in another pack.

    The fused attention reads queries where they lie, and rounds differently where they are aligned
    differently: for it the new address is the same modulo 64 bytes. In a pack it always is, because
    a token's heads take a multiple of 64 bytes in every model there is.
    """

    def at_another_address(tensor: Tensor) -> Tensor:
        room = torch.empty(tensor.numel() + 64, dtype=tensor.dtype)
        start = (tensor.data_ptr() - room.data_ptr()) % 64 // tensor.element_size()
        start += 1 if backend == "packed" else 0
        return room[start : start + tensor.numel()].view(tensor.shape).copy_(tensor)

    return type(case)(
        *(at_another_address(part) for part in (case.q, case.k, case.v)),
        case.cu_q,
        case.cu_k,
        case.header,
        case.prefixes,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_nobody_owns_do_not_leak(
    shape_of: Any, case_of: Callable[..., Any], backend: str
) -> None:
    """``case_of`` puts NaN behind the last row and around every extent of its pool."""
    shape = shape_of([(2, 9, 3), (5, 5, None), (1, 4, 0), (3, 3, 17)], 6, 6, 3, 24, padding=5)
    case = case_of(shape)
    assert case.q[11:].isnan().all()
    assert case.k[21:].isnan().all()
    assert case.v[21:].isnan().all()
    pool = case.prefixes[0].k._base
    assert int(pool.isnan().sum()) == pool.numel() - 2 * case.prefixes[0].k.numel()
    assert case.attend(backend).isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("other", ["a row's own tokens", "a prefix"])
def test_a_row_never_sees_another_row(
    shape_of: Any, case_of: Callable[..., Any], backend: str, other: str
) -> None:
    case = case_of(shape_of([(2, 4, 3), (3, 3, 5), (2, 2, None)], 2, 4, 2, 8))
    before = case.attend(backend)
    spoilt = case.k[4:7] if other == "a row's own tokens" else case.prefixes[1].k
    spoilt.fill_(float("nan"))
    after = case.attend(backend)
    assert after[2:5].isnan().all()
    assert torch.equal(after[:2], before[:2])
    assert torch.equal(after[5:], before[5:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_mutated(
    shape_of: Any, case_of: Callable[..., Any], backend: str, dtype: torch.dtype
) -> None:
    case = case_of(shape_of([(2, 4, 3), (3, 3, 0), (600, 600, None)], 2, 4, 2, 8), dtype=dtype)
    tensors = case.tensors()
    before = [tensor.clone() for tensor in tensors]
    case.attend(backend)
    for tensor, copy in zip(tensors, before, strict=True):
        assert torch.equal(tensor.nan_to_num(nan=7.0), copy.nan_to_num(nan=7.0))
