"""Eight-bit products: the numbers they are made of, rows that stay alone, and errors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.errors import ConfigurationError
from minireranker.kernels.quantised import KINDS, Kind, QuantisedWeight, quantise_rows, requirement
from minireranker.kernels.quantised.rows import LARGEST

CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 600),
    features=st.sampled_from([1, 16, 40, 130]),
    size=st.sampled_from([1e-30, 1e-3, 1.0, 1e30]),
    kind=st.sampled_from(KINDS),
)
def test_rows_come_back_to_half_a_step(rows: int, features: int, size: float, kind: Kind) -> None:
    x = random(rows, features, seed=rows) * size
    found = quantise_rows(x, kind)
    back = found.numbers.double() * found.scale.double()
    largest = x.abs().amax(1, keepdim=True).double()
    # Three bits of mantissa below one step of int8: a sixteenth of the number itself.
    allowed = largest / LARGEST[kind] / 2 if kind == "int8" else x.abs().double() / 16
    assert bool(((back - x).abs() <= allowed * (1 + 1e-5) + largest * 2.0**-17).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_that_of_the_numbers(kind: Kind, dtype: torch.dtype) -> None:
    x, w = random(48, 96, dtype=dtype), random(80, 96, seed=1, dtype=dtype)
    rows, weight = quantise_rows(x, kind), quantise_rows(w, kind)
    exact = (rows.numbers.double() * rows.scale) @ (weight.numbers.double() * weight.scale).T
    found = QuantisedWeight(w, kind)(rows)
    assert found.dtype is dtype
    # Twice rounded to the rows' dtype.
    step = torch.finfo(dtype).eps * 1.01
    assert bool(((found.double() - exact).abs() <= step * exact.abs() + 1e-5).all())


def test_it_is_near_the_product_it_stands_for() -> None:
    x, w = random(64, 512), random(96, 512, seed=1)
    found = QuantisedWeight(w, "int8")(quantise_rows(x, "int8"))
    assert float((found - x @ w.T).std() / (x @ w.T).std()) < 0.02


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 40), at=st.integers(0, 599))
def test_a_row_has_the_same_bits_in_any_company(count: int, at: int) -> None:
    x, w = random(640, 64, dtype=torch.bfloat16), QuantisedWeight(random(48, 64, seed=1), "int8")
    some = w(quantise_rows(x[at : at + count].contiguous(), "int8"))
    assert torch.equal(some, w(quantise_rows(x, "int8"))[at : at + count])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    x = random(32, 64)
    x[3, 5] = bad
    found = QuantisedWeight(random(16, 64, seed=1), "int8")(quantise_rows(x, "int8"))
    assert not bool(found[3].isfinite().any())
    assert bool(found[torch.arange(32) != 3].isfinite().all())


def test_a_row_of_zeros_and_no_rows_at_all() -> None:
    weight = QuantisedWeight(random(16, 64), "int8")
    assert not bool(weight(quantise_rows(torch.zeros(16, 64), "int8")).any())
    assert quantise_rows(torch.zeros(0, 64), "int8").shape == (0, 64)


def test_a_weight_takes_half_the_bytes_of_bfloat16() -> None:
    w = random(256, 512, dtype=torch.bfloat16)
    assert QuantisedWeight(w, "int8").nbytes == w.nbytes // 2 + 4 * 256


def test_a_weight_that_is_not_finite_is_refused() -> None:
    w = random(16, 64)
    w[2, 2] = math.nan
    with pytest.raises(ConfigurationError, match=r"\(16, 64\) is not finite"):
        QuantisedWeight(w, "int8")


def test_each_kind_says_where_it_runs() -> None:
    assert requirement("int8", CPU) is None
    assert "take bfloat16 or int8" in str(requirement("fp8", CPU))
    assert "take bfloat16 or fp8" in str(requirement("int8", torch.device("cuda:0")))
