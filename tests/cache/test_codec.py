"""Codecs: how far what comes out is from what went in, how many bytes, and what it depends on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minireranker.cache.codec import CODECS, check_codec, check_parts, decode_layer, encode
from minireranker.errors import ConfigurationError

LOSSY = ("fp8", "int8", "int4")
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
BASE = (8, 160, 8, 128)
"""The 2B model's band: layers, tokens, KV heads, head_dim."""
Shape = tuple[int, int, int, int]
Draw = Callable[..., tuple[Tensor, Tensor]]
SHAPES = st.tuples(
    st.integers(0, 3),
    st.integers(0, 200),
    st.integers(1, 3),
    st.integers(1, 20).map(lambda n: 2 * n) | st.sampled_from([80, 128, 130, 194]),
)
EVERYTHING = settings(max_examples=60, deadline=None)


def decoded(codec: str, parts: dict[str, Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """All layers, K and V."""
    layers = [decode_layer(codec, parts, at, dtype) for at in range(len(parts["k"]))]
    return torch.stack([k for k, _ in layers]), torch.stack([v for _, v in layers])


def by_value(numbers: Tensor, shape: torch.Size) -> Tensor:
    """[layers, token groups, kv_heads, channel groups] as float64, one for every value."""
    length = -(-shape[1] // max(1, numbers.shape[1]))
    at = torch.arange(shape[1]) // max(1, length)
    return numbers.double()[:, at].repeat_interleave(shape[3] // numbers.shape[3], 3)


def codes_of(codec: str, codes: Tensor) -> Tensor:
    """What stands in ``codes``, as float64 [layers, tokens, kv_heads, head_dim]."""
    if codec == "int4":
        return torch.cat((codes % 16, codes // 16), -1).double()
    return codes.to(torch.float32).double()


def by_the_book(codec: str, parts: dict[str, Tensor], side: str) -> Tensor:
    """What K or V decode to before they are rounded to any dtype, float64."""
    codes = codes_of(codec, parts[side])
    scale = by_value(parts[f"{side}_scale"], codes.shape)
    if codec == "int4":
        return (codes - 7.5) * scale + by_value(parts[f"{side}_centre"], codes.shape)
    return codes * scale


def bits(x: Tensor) -> bytes:
    return bytes(x.cpu().contiguous().flatten().view(torch.uint8).numpy())


@EVERYTHING
@given(SHAPES, st.sampled_from(DTYPES), st.sampled_from(CODECS), st.integers(0, 9))
def test_parts_have_the_layer_first_and_decode_to_the_shape_and_dtype(
    keys_values: Draw, shape: Shape, dtype: torch.dtype, codec: str, seed: int
) -> None:
    k, v = keys_values(shape, dtype, seed)
    parts = encode(codec, k, v)
    check_parts(codec, parts, shape[1])
    assert all(part.is_contiguous() and len(part) == shape[0] for part in parts.values())
    for at in range(shape[0]):
        for found in decode_layer(codec, parts, at, dtype):
            assert (found.shape, found.dtype) == (shape[1:], dtype)
            assert found.is_contiguous()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_keeps_every_bit_and_decodes_without_a_copy(
    keys_values: Draw, dtype: torch.dtype
) -> None:
    k, v = keys_values((2, 5, 3, 16), dtype)
    parts = encode("exact", k, v)
    assert parts.keys() == {"k", "v"}
    for at in range(2):
        for found, x, part in zip(
            decode_layer("exact", parts, at, dtype), (k, v), (parts["k"], parts["v"]), strict=True
        ):
            assert bits(found) == bits(x[at])
            assert found.data_ptr() == part[at].data_ptr()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("order", [(0, 2, 1, 3), (1, 0, 2, 3), (0, 1, 3, 2), (3, 2, 1, 0)])
def test_how_the_numbers_lay_in_memory_does_not_matter(
    keys_values: Draw, codec: str, order: tuple[int, ...]
) -> None:
    k, v = (x.permute(order) for x in keys_values((6, 90, 4, 16)))
    parts = encode(codec, k, v)
    for name, part in encode(codec, k.contiguous(), v.contiguous()).items():
        assert parts[name].is_contiguous()
        assert bits(parts[name]) == bits(part)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bf16_rounds_to_bfloat16_and_nothing_else(keys_values: Draw, dtype: torch.dtype) -> None:
    k, v = keys_values((2, 5, 3, 16), dtype)
    for found, x in zip(decoded("bf16", encode("bf16", k, v), dtype), (k, v), strict=True):
        assert torch.equal(found, x.to(torch.bfloat16).to(dtype))


@EVERYTHING
@given(SHAPES, st.sampled_from(DTYPES), st.integers(0, 9))
def test_int8_is_off_by_half_a_scale_at_most(
    keys_values: Draw, shape: Shape, dtype: torch.dtype, seed: int
) -> None:
    for side, x in zip("kv", keys_values(shape, dtype, seed), strict=True):
        parts = encode("int8", x, x)
        exact = x.float().double()
        scale = by_value(parts[f"{side}_scale"], x.shape)
        rounding = exact.abs() * 2.0**-22
        assert ((by_the_book("int8", parts, side) - exact).abs() <= scale / 2 + rounding).all()
        if x.numel():
            peak = exact.abs().amax(1 if side == "k" else 3, keepdim=True)
            assert parts[f"{side}_scale"].shape == peak.shape
            assert torch.allclose(scale, (peak / 127).expand_as(scale), rtol=2e-6, atol=0)


@EVERYTHING
@given(SHAPES, st.sampled_from(DTYPES), st.integers(0, 9))
def test_int4_is_off_by_half_a_step_at_most(
    keys_values: Draw, shape: Shape, dtype: torch.dtype, seed: int
) -> None:
    for side, x in zip("kv", keys_values(shape, dtype, seed), strict=True):
        parts = encode("int4", x, x)
        exact = x.float().double()
        step = by_value(parts[f"{side}_scale"], x.shape)
        centre = by_value(parts[f"{side}_centre"], x.shape)
        rounding = exact.abs() * 2.0**-20
        assert ((by_the_book("int4", parts, side) - exact).abs() <= step / 2 + rounding).all()
        # bfloat16, cut: a step is at most 1/128 shorter, a centre at most 1/128 nearer to zero.
        if x.numel() and side == "v":
            groups = exact.unflatten(3, (parts["v_scale"].shape[3], -1))
            high, low = groups.amax(4, keepdim=True), groups.amin(4, keepdim=True)
            ideal = ((high - low) / 15).expand_as(groups).flatten(3)
            assert (step >= ideal * (1 - 2**-7 - 2**-18)).all()
            assert (step <= ideal + centre.abs() * 2**-7 / 7.5 + ideal * 2**-18).all()


@EVERYTHING
@given(SHAPES, st.sampled_from(DTYPES), st.integers(0, 9))
def test_fp8_is_off_by_half_of_its_last_digit_at_most(
    keys_values: Draw, shape: Shape, dtype: torch.dtype, seed: int
) -> None:
    for side, x in zip("kv", keys_values(shape, dtype, seed), strict=True):
        parts = encode("fp8", x, x)
        exact = x.float().double()
        scale = by_value(parts[f"{side}_scale"], x.shape)
        # Four binary digits; below 2 ** -6 scales they are 2 ** -9 apart.
        bound = torch.maximum(exact.abs() * 2.0**-4, scale * 2.0**-10) * (1 + 2**-18)
        assert ((by_the_book("fp8", parts, side) - exact).abs() <= bound).all()
        if x.numel():
            top = parts[side].to(torch.float32).abs().amax((1, 3))
            assert (top == 448).all()


@EVERYTHING
@given(SHAPES, st.sampled_from(DTYPES), st.sampled_from(LOSSY), st.integers(0, 9))
def test_decoding_rounds_once_in_float32_and_once_to_the_dtype(
    keys_values: Draw, shape: Shape, dtype: torch.dtype, codec: str, seed: int
) -> None:
    if not shape[0]:
        return
    parts = encode(codec, *keys_values(shape, dtype, seed))
    for side, found in zip("kv", decoded(codec, parts, dtype), strict=True):
        wanted = by_the_book(codec, parts, side)
        if codec == "int4":
            # The bottom of the range has been rounded too, by half a last digit of its own.
            slack = wanted.abs().clamp(min=by_value(parts[f"{side}_scale"], wanted.shape) * 8)
            digits = {torch.bfloat16: 8, torch.float16: 11}.get(dtype, 22)
            bound = wanted.abs() * 2.0**-digits + slack * 2.0**-22 + 2.0**-25
            assert ((found.double() - wanted).abs() <= bound).all()
        else:
            assert torch.equal(found, wanted.float().to(dtype))


def test_every_fp8_code_decodes_to_its_value() -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    codes = codes[~codes.to(torch.float32).isnan()].view(1, 127, 1, 2)
    scale = torch.full((1, 1, 1, 1), 0.75)
    parts = {"k": codes, "v": codes, "k_scale": scale, "v_scale": scale}
    check_parts("fp8", parts, 127)
    for found in decode_layer("fp8", parts, 0, torch.float32):
        assert torch.equal(found, codes[0].to(torch.float32) * 0.75)


@pytest.mark.parametrize(
    ("codec", "of_k", "of_v"),
    [("fp8", 0.039, 0.027), ("int8", 0.0083, 0.0066), ("int4", 0.083, 0.09)],
)
def test_mean_error_in_sigmas_of_a_channel(
    keys_values: Draw, codec: str, of_k: float, of_v: float
) -> None:
    k, v = keys_values((2, *BASE[1:]))
    found_k, found_v = decoded(codec, encode(codec, k, v), k.dtype)
    assert 0 < ((found_k - k) / k.std(1, keepdim=True)).square().mean().sqrt() < of_k
    assert 0 < (found_v - v).square().mean().sqrt() < of_v


@pytest.mark.parametrize(
    ("codec", "most"), [("exact", 32), ("bf16", 32), ("fp8", 16.01), ("int8", 17), ("int4", 9.35)]
)
@pytest.mark.parametrize("tokens", [64, 79, 97, 127, 129, 150, 160])
def test_kib_a_token_of_the_2b_model(codec: str, most: float, tokens: int) -> None:
    # Allowed are 9.5 in int4: this leaves room for the header of a file.
    layers, _, heads, dim = BASE
    x = torch.zeros(layers, tokens, heads, dim, dtype=torch.bfloat16)
    size = sum(part.nbytes for part in encode(codec, x, x).values())
    assert size <= most * 1024 * tokens
    assert size <= 1.5 * 2**20 or codec != "int4"


@pytest.mark.parametrize("codec", CODECS)
def test_a_layer_depends_on_no_other(keys_values: Draw, codec: str) -> None:
    k, v = keys_values((3, 70, 2, 16), torch.bfloat16)
    together = encode(codec, k, v)
    # NaN in the others would spoil anything computed over layers.
    lonely_k, lonely_v = k.clone(), v.clone()
    lonely_k[::2], lonely_v[::2] = torch.nan, torch.inf
    for parts in (encode(codec, lonely_k, lonely_v), together):
        for name, part in encode(codec, k[1:2], v[1:2]).items():
            assert bits(part[0]) == bits(parts[name][1])
        for found, wanted in zip(
            decode_layer(codec, parts, 1, k.dtype),
            decode_layer(codec, encode(codec, k[1:2], v[1:2]), 0, k.dtype),
            strict=True,
        ):
            assert bits(found) == bits(wanted)


@pytest.mark.parametrize("codec", ["int8", "int4"])
def test_the_sign_of_zero_is_not_kept(codec: str) -> None:
    x = torch.zeros(1, 70, 2, 16)
    found = encode(codec, -x, -x)
    for name, part in encode(codec, x, x).items():
        assert bits(found[name]) == bits(part)


@pytest.mark.parametrize("codec", LOSSY)
def test_the_same_numbers_give_the_same_bytes_in_every_dtype(keys_values: Draw, codec: str) -> None:
    k, v = keys_values((2, 70, 2, 16), torch.bfloat16)
    wanted = encode(codec, k, v)
    for dtype in (torch.float32, torch.float64):
        found = encode(codec, k.to(dtype), v.to(dtype))
        assert {name: bits(part) for name, part in found.items()} == {
            name: bits(part) for name, part in wanted.items()
        }


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("tokens", [1, 129, 300])
def test_the_number_of_threads_changes_no_bit(keys_values: Draw, codec: str, tokens: int) -> None:
    k, v = keys_values((1, tokens, 8, 128), torch.bfloat16)
    parts = encode(codec, k, v)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert [bits(x) for x in encode(codec, k, v).values()] == [
                bits(x) for x in parts.values()
            ]
            found.append([bits(x) for x in decode_layer(codec, parts, 0, k.dtype)])
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dim", [6, 16, 32])
def test_parts_may_lie_anywhere_in_a_buffer(keys_values: Draw, codec: str, dim: int) -> None:
    k, v = keys_values((2, 67, 2, dim), torch.bfloat16)
    parts = encode(codec, k, v)
    moved = {}
    for name, part in parts.items():
        at = 3 * part.element_size()
        data = bytearray(at) + bits(part)
        moved[name] = torch.frombuffer(data, dtype=part.dtype)[3:].view(part.shape)
    for layer in range(2):
        wanted = decode_layer(codec, parts, layer, k.dtype)
        for found, x in zip(decode_layer(codec, moved, layer, k.dtype), wanted, strict=True):
            assert torch.equal(found, x)


def test_an_unknown_codec_is_refused_by_name() -> None:
    x = torch.zeros(1, 1, 1, 2)
    for attempt in (
        lambda: check_codec("zip"),
        lambda: encode("zip", x, x),
        lambda: check_parts("zip", {"k": x, "v": x}, 1),
    ):
        with pytest.raises(
            ConfigurationError, match="'zip': use one of exact, bf16, fp8, int8, int4"
        ):
            attempt()
    assert [check_codec(name) for name in CODECS] == list(CODECS)


@pytest.mark.parametrize(
    ("k", "v"),
    [
        (torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)),
        (torch.zeros(1, 2, 1, 2), torch.zeros(1, 3, 1, 2)),
        (torch.zeros(1, 2, 1, 3), torch.zeros(1, 2, 1, 3)),
        (torch.zeros(1, 2, 1, 2).int(), torch.zeros(1, 2, 1, 2).int()),
        (torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2).half()),
    ],
)
@pytest.mark.parametrize("codec", CODECS)
def test_tensors_that_are_no_k_and_v_are_refused(codec: str, k: Tensor, v: Tensor) -> None:
    with pytest.raises(ValueError, match="expected one shape"):
        encode(codec, k, v)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 67, 3, 6), (2, 161, 8, 128), (1, 0, 2, 16)])
def test_bytes_are_the_same_on_a_gpu(
    keys_values: Draw, codec: str, dtype: torch.dtype, shape: Shape
) -> None:
    k, v = keys_values(shape, dtype)
    k[:, ::2, 0, 0], v[:, :1] = -0.0, 0.0
    here = encode(codec, k, v)
    there = encode(codec, k.cuda(), v.cuda())
    assert all(part.is_cuda for part in there.values())
    assert {name: bits(x) for name, x in here.items()} == {
        name: bits(x) for name, x in there.items()
    }
    for at in range(shape[0]):
        wanted = decode_layer(codec, here, at, dtype)
        for found, x in zip(decode_layer(codec, there, at, dtype), wanted, strict=True):
            assert bits(found) == bits(x)
