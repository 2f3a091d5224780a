"""Zero, constant, huge, tiny and broken values: what a codec makes of them is never worse."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from minireranker.cache.codec import decode_layer, encode

LOSSY = ("fp8", "int8", "int4")
REAL = (torch.bfloat16, torch.float16, torch.float32)
SHAPE = (1, 131, 2, 8)
Draw = Callable[..., tuple[Tensor, Tensor]]


def through(codec: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """``x`` [1, ...] as K and as V, there and back."""
    k, v = decode_layer(codec, encode(codec, x, x), 0, x.dtype)
    return k[None], v[None]


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("sign", [1, -1])
def test_zero_stays_zero_beside_anything(
    keys_values: Draw, codec: str, dtype: torch.dtype, sign: int
) -> None:
    x = keys_values(SHAPE, dtype)[0]
    x[:, :, 0] = 0.0 * sign
    for found in through(codec, x):
        assert (found[:, :, 0] == 0).all()


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("value", [1.0, -0.7, 3e-5, 60000.0])
def test_a_constant_is_kept_to_a_few_digits(codec: str, dtype: torch.dtype, value: float) -> None:
    x = torch.full(SHAPE, value, dtype=dtype)
    for found in through(codec, x):
        assert torch.allclose(found, x, rtol=2**-7, atol=0)


def test_four_bits_keep_a_bfloat16_constant_exactly() -> None:
    x = torch.full(SHAPE, 0.7, dtype=torch.bfloat16)
    for found in through("int4", x):
        assert torch.equal(found, x)


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("lowest", [1.0, 0.99, 0.9, 0.5, 0.0, -0.3, -1.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_numbers_there_are_stay_finite(
    codec: str, dtype: torch.dtype, lowest: float, sign: int
) -> None:
    largest = torch.finfo(dtype).max
    share = torch.linspace(1, lowest, SHAPE[1], dtype=torch.float64)
    x = (share[None, :, None, None] * largest).expand(SHAPE).clone()
    x[..., ::3] = largest
    x = (x * sign).to(dtype)
    assert x.isfinite().all()
    for found in through(codec, x):
        assert found.isfinite().all()
        if lowest >= 0:
            bound = largest * (1 - lowest) / 29 if codec == "int4" else largest / 16
            assert ((found.double() - x.double()).abs() <= bound + largest * 2**-7).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_four_bits_saturate_where_their_step_would_overflow(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    x = torch.linspace(-1, 1, 30).to(dtype) * largest
    k, _ = through("int4", x.view(1, 30, 1, 1).expand(-1, -1, 2, 6))
    _, v = through("int4", x.view(1, 1, 1, 30).expand(-1, 7, 2, -1))
    half = x.double().clamp(-largest / 2, largest / 2)
    for found in (k[0, :, 1, 1], v[0, 6, 1]):
        assert ((found.double() - half).abs() <= largest * 0.05).all()


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("dtype", REAL)
def test_the_smallest_numbers_there_are_stay_small(codec: str, dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    for tiny in (info.smallest_normal, info.smallest_normal * info.eps):
        x = torch.linspace(-tiny, tiny, 131 * 16).to(dtype).view(SHAPE)
        assert x.any()
        for found in through(codec, x):
            assert (found.abs() <= tiny).all()


@pytest.mark.parametrize("codec", LOSSY)
def test_groups_differ_by_sixty_orders_of_magnitude(keys_values: Draw, codec: str) -> None:
    k, v = keys_values((1, 131, 2, 8))
    x = torch.cat((k * 1e30, v * 1e-30), 2)
    for found in through(codec, x):
        error = (found - x)[:, :, 2:].double()
        assert error.square().mean().sqrt() < 0.2e-30
        assert found[:, :, 2:].any()


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_what_is_not_finite_never_comes_back_as_a_number(
    keys_values: Draw, codec: str, bad: float
) -> None:
    x = keys_values(SHAPE)[0]
    x[0, 70, 1, 3] = bad
    for found in through(codec, x):
        assert not found[0, 70, 1, 3].isfinite()
        assert found[:, :, 0].isfinite().all()


def test_channels_of_different_size_do_not_share_a_scale(keys_values: Draw) -> None:
    x = keys_values((1, 160, 1, 8))[1]
    x[..., 5] *= 1000
    for codec, most in (("int8", 0.01), ("int4", 0.11)):
        k, _ = through(codec, x)
        assert (k - x)[..., :5].square().mean().sqrt() < most
