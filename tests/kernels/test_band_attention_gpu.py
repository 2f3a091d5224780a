"""Every backend that runs on a CUDA device against the reference, as exact as plain torch there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from minireranker.errors import ConfigurationError
from minireranker.kernels.band_attention import BACKENDS, requirement

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

DEVICE = torch.device("cuda", 0)
SEEDS = range(6)
FAST = [backend for backend in BACKENDS if backend != "reference"]
DTYPES = [torch.bfloat16, torch.float16, torch.float32]
SHAPES = {
    "odd lengths, group 2, 80 numbers": (
        [(1, 1, None), (15, 15, 1), (16, 17, 16), (17, 64, 63), (63, 63, 65), (65, 130, 0)],
        (5, 6, 3, 80),
    ),
    "no header, group 7, 64 numbers": (
        [(1, 130, 130), (2, 65, None), (40, 47, 37), (64, 64, 0)],
        (None, 7, 1, 64),
    ),
    "as scored, group 2, 128 numbers": (
        [(40, 40, 150)] * 4 + [(40, 40, 131)] * 3,
        (20, 16, 8, 128),
    ),
    "the last layer, group 4, 128 numbers": ([(1, 40, 150), (1, 33, 330)] * 3, (20, 8, 2, 128)),
    "no prefix, group 1, 16 numbers": ([(130, 130, None), (7, 9, None)], (None, 2, 2, 16)),
    "narrow, group 1, 32 numbers": ([(17, 17, 64), (1, 2, 15)], (1, 3, 3, 32)),
}


@pytest.fixture(params=list(SHAPES))
def shape(request: pytest.FixtureRequest, shape_of: Any) -> Any:
    rows, sizes = SHAPES[request.param]
    return shape_of(rows, *sizes)


def attend(case: Any, backend: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and LSE; skipped in the backend's words where it does not run, or not in float32."""
    reason = requirement(backend, DEVICE)
    if reason is not None:
        pytest.skip(reason)
    try:
        found: tuple[torch.Tensor, torch.Tensor] = case.attend_lse(backend)
    except ConfigurationError as error:
        if case.q.dtype is not torch.float32:
            raise
        pytest.skip(str(error))
    return found


def assert_as_exact(cases: list[Any], backend: str) -> None:
    """At most twice the error of two matrix products in the dtype, plus one rounding."""
    ours = theirs = largest = 0.0
    for case in cases:
        exact, log_sums = case.to(torch.float64).attend_lse("reference")
        # Freed memory of NaN: what a backend does not write, or reads past its end, shows.
        poison = torch.full((2, *case.q.shape), float("nan"), dtype=case.q.dtype, device=DEVICE)
        del poison
        out, lse = attend(case, backend)
        assert out.dtype is case.q.dtype
        assert torch.equal(out[case.cu_q[-1] :], torch.zeros_like(out[case.cu_q[-1] :]))
        assert (lse[case.cu_q[-1] :] == float("-inf")).all()
        ours = max(ours, float((out.double() - exact).abs().max()))
        theirs = max(theirs, float((case.attend("packed").double() - exact).abs().max()))
        largest = max(largest, float(exact.abs().max()))
        rows = case.cu_q[-1]
        bound = 2 * torch.finfo(case.q.dtype).eps * 12 * float(case.q[:rows].norm(dim=2).max())
        assert float((lse - log_sums)[:rows].abs().max()) <= bound
    allowed = 2 * theirs + torch.finfo(cases[0].q.dtype).eps * largest
    assert ours <= allowed, f"{backend}: {ours} against packed's {theirs}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", FAST)
def test_error_on_a_gpu(
    shape: Any, case_of: Callable[..., Any], backend: str, dtype: torch.dtype
) -> None:
    cases = [case_of(shape, seed, dtype).to(DEVICE) for seed in SEEDS]
    assert_as_exact(cases, backend)
    assert_as_exact([case.sharing() for case in cases], backend)


@pytest.mark.parametrize("numbers", [torch.int8, torch.float8_e4m3fn])
@pytest.mark.parametrize("backend", FAST)
def test_error_with_quantised_prefixes(
    shape: Any, case_of: Callable[..., Any], backend: str, numbers: torch.dtype
) -> None:
    if numbers is torch.float8_e4m3fn and torch.cuda.get_device_capability(DEVICE) < (8, 9):
        pytest.skip("no float8 on this device")
    cases = [case_of(shape, seed, torch.bfloat16).sharing().quantised(numbers) for seed in SEEDS]
    assert_as_exact([case.to(DEVICE) for case in cases], backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_row_does_not_own_stays_out_of_it(
    shape_of: Any, case_of: Callable[..., Any], backend: str
) -> None:
    case = case_of(shape_of([(2, 9, 3), (5, 5, 40), (1, 4, 0)], 6, 4, 2, 64), 0, torch.bfloat16)
    case = case.to(DEVICE)
    before = attend(case, backend)[0]
    spoilt = dataclasses.replace(case, k=case.k.clone())
    spoilt.k[9:14] = float("nan")
    after = attend(spoilt, backend)[0]
    assert after[2:7].isnan().any()
    assert torch.equal(after[:2], before[:2])
    assert torch.equal(after[7:], before[7:])


@pytest.mark.parametrize("backend", BACKENDS)
def test_twice_the_same_bits(shape_of: Any, case_of: Callable[..., Any], backend: str) -> None:
    case = case_of(shape_of([(40, 40, 150)] * 3, 20, 16, 8, 128), 0, torch.bfloat16).to(DEVICE)
    first, again = attend(case, backend), attend(case, backend)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
