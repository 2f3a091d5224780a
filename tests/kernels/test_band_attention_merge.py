"""Attention from parts: the merging alone, and the parts under the contract, on any device."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minireranker.errors import ConfigurationError
from minireranker.kernels.band_attention import flash, xformers
from minireranker.kernels.band_attention.merge import merge
from minireranker.kernels.band_attention.parts import (
    Part,
    attend_in_parts,
    check_numbers,
    no_device,
)

NAN, NONE = float("nan"), float("-inf")


def attention(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Output and LSE; over no key NaN and -inf, as kernels leave it."""
    if not scores.shape[2]:
        shape = (*scores.shape[:2], values.shape[2])
        return torch.full(shape, NAN, dtype=scores.dtype), torch.full(shape[:2], NONE)
    out = torch.einsum("thk,khd->thd", scores.softmax(2), values)
    return out, scores.logsumexp(2)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    spread=st.sampled_from([1, 30, 300]),
    seed=st.integers(0, 9),
)
def test_parts_merge_to_the_whole(sizes: list[int], spread: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, 2, sum(sizes), generator=random, dtype=torch.float64) * spread
    values = torch.randn(sum(sizes), 2, 8, generator=random, dtype=torch.float64)
    pairs = zip(scores.split(sizes, 2), values.split(sizes), strict=True)
    parts = [attention(some, own) for some, own in pairs]
    out, lse = merge([part[0] for part in parts], [part[1].double() for part in parts])
    if not sum(sizes):
        assert (out == 0).all()
        assert (lse == NONE).all()
        return
    whole, total = attention(scores, values)
    torch.testing.assert_close(out, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(lse, total, rtol=1e-12, atol=1e-12)


def test_the_output_is_rounded_once_to_its_dtype() -> None:
    outs = [torch.randn(4, 2, 8).bfloat16() for _ in range(3)]
    lses = [torch.randn(4, 2) for _ in range(3)]
    out, lse = merge(outs, lses)
    exact, total = merge([part.double() for part in outs], [part.double() for part in lses])
    assert out.dtype is torch.bfloat16
    assert lse.dtype is torch.float32
    torch.testing.assert_close(out.double(), exact, rtol=2**-8, atol=1e-5)
    torch.testing.assert_close(lse.double(), total, rtol=1e-6, atol=1e-6)


class Plain:
    """A launch in torch, one sequence after the other, that remembers its parts."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def __call__(self, part: Part) -> tuple[Tensor, Tensor]:
        self.parts.append(part)
        assert part.cu_q[-1] == len(part.q)
        assert part.cu_k[-1] == len(part.k)
        group = part.q.shape[1] // part.k.shape[1]
        done = []
        spans = zip(itertools.pairwise(part.cu_q), itertools.pairwise(part.cu_k), strict=True)
        for (start, stop), (first, last) in spans:
            assert start < stop
            assert first < last
            keys, values = (x[first:last].repeat_interleave(group, 1) for x in (part.k, part.v))
            scores = torch.einsum("thd,khd->thk", part.q[start:stop], keys) * keys.shape[2] ** -0.5
            if part.causal:
                hidden = torch.ones(stop - start, last - first, dtype=torch.bool)
                hidden = hidden.triu(last - first - (stop - start) + 1)
                scores = scores.masked_fill(hidden[:, None], NONE)
            done.append(attention(scores, values))
        return torch.cat([out for out, _ in done]), torch.cat([lse for _, lse in done])


@pytest.mark.parametrize(
    ("numbers", "scales"),
    [
        (None, "token"),
        (torch.int8, "token"),
        (torch.int8, "channel"),
        (torch.float8_e4m3fn, "head"),
    ],
)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_parts_give_what_the_reference_gives(
    shapes: Any,
    case_of: Callable[..., Any],
    numbers: torch.dtype | None,
    scales: str,
    data: st.DataObject,
) -> None:
    case = case_of(data.draw(shapes), dtype=torch.float64)
    case = case.sharing() if data.draw(st.booleans()) else case
    case = case if numbers is None else case.quantised(numbers, scales)
    out, lse = attend_in_parts(case.call(lse=True), Plain())
    exact, total = case.attend_lse("reference")
    torch.testing.assert_close(out, exact, rtol=0, atol=1e-12)
    torch.testing.assert_close(lse, total, rtol=1e-6, atol=1e-6)
    assert attend_in_parts(case.call(), Plain())[1] is None


def test_a_document_of_several_rows_is_one_sequence(
    shape_of: Any, case_of: Callable[..., Any]
) -> None:
    rows = [(3, 5, 9), (2, 2, 4), (4, 4, None), (1, 6, 3), (5, 5, 0), (2, 3, 8), (6, 6, 7)]
    launch = Plain()
    case = case_of(shape_of(rows, 5, 4, 2, 16, padding=4)).sharing()
    attend_in_parts(case.call(), launch)
    header, documents, own = launch.parts
    assert header.cu_q == [0, 23]
    assert header.cu_k == [0, 5]
    assert documents.cu_q == [0, 5, 11]
    assert documents.cu_k == [0, 9, 16]
    assert own.cu_q == case.cu_q
    assert [part.causal for part in launch.parts] == [False, False, True]


def test_no_row_is_no_launch(shape_of: Any, case_of: Callable[..., Any]) -> None:
    launch = Plain()
    case = case_of(shape_of([], 5, 4, 2, 16, padding=4))
    out, lse = attend_in_parts(case.call(lse=True), launch)
    assert launch.parts == []
    assert torch.equal(out, torch.zeros(4, 4, 16))
    assert lse is not None
    assert torch.equal(lse, torch.full((4, 4), NONE))


def test_torchs_flash_attention_takes_the_parts(shape_of: Any, case_of: Callable[..., Any]) -> None:
    """On "meta", where torch checks arguments and tells shapes without computing."""
    case = case_of(shape_of([(3, 5, 9), (2, 2, 4)], 5, 4, 2, 16), dtype=torch.bfloat16)
    meta = case.to(torch.device("meta"))
    out, lse = attend_in_parts(meta.call(lse=True), flash._torch)
    assert out.shape == case.q.shape
    assert lse is not None
    assert lse.shape == case.q.shape[:2]


def test_xformers_lse_in_either_layout() -> None:
    sizes = [3, 1, 4]
    packed = torch.randn(1, 2, 3, 8)  # [1, kv_heads, group, tokens]
    padded = torch.full((3, 2, 3, 6), NAN)  # [sequences, kv_heads, group, the longest]
    for at, some in enumerate(packed[0].split(sizes, -1)):
        padded[at, ..., : sizes[at]] = some
    found = xformers._tokens_first(packed, sizes)
    assert torch.equal(found, packed.view(6, 8).T)
    assert torch.equal(xformers._tokens_first(padded, sizes), found)


def test_numbers_flash_attention_does_not_multiply(
    shape_of: Any, case_of: Callable[..., Any]
) -> None:
    shape = shape_of([(1, 1, None)], None, 1, 1, 8)
    check_numbers(case_of(shape, dtype=torch.bfloat16).call(), "flash")
    with pytest.raises(ConfigurationError, match=r"'flash' is for bfloat16 .* not torch.float32"):
        check_numbers(case_of(shape).call(), "flash")
    for dim in (12, 264):
        odd = case_of(shape_of([(1, 1, None)], None, 1, 1, dim), dtype=torch.bfloat16).call()
        with pytest.raises(ConfigurationError, match=f"multiple of 8 .* not {dim}"):
            check_numbers(odd, "flash")


def test_where_flash_attention_runs() -> None:
    assert "not on cpu" in str(no_device("flash", torch.device("cpu")))
    found = no_device("flash", torch.device("cuda", 0))
    recent = torch.cuda.is_available() and torch.cuda.get_device_capability(0) >= (8, 0)
    assert (found is None) is recent
