"""Parts that come from a file are checked against each other before any is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minireranker.cache.codec import CODECS, check_parts, decode_layer, encode
from minireranker.cache.grouping import Grouping

TOKENS = 130
OTHERS = (
    *(torch.bfloat16, torch.float16, torch.float32, torch.float64),
    torch.int8,
    torch.uint8,
    torch.int64,
    torch.bool,
    torch.float8_e4m3fn,
)
Parts = dict[str, Tensor]
Draw = Callable[..., tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def sound(keys_values: Draw) -> dict[str, Parts]:
    """Parts of every codec."""
    k, v = keys_values((2, TOKENS, 2, 6), torch.bfloat16)
    return {codec: encode(codec, k, v) for codec in CODECS}


def mutilated(parts: Parts) -> Iterator[Parts]:
    """Everything that can be wrong with one part at a time."""
    yield {}
    yield {**parts, "w": parts["v"]}
    for name, part in parts.items():
        rest = {other: x for other, x in parts.items() if other != name}
        yield rest
        yield {**rest, f"{name}_": part}
        yield {**parts, name: part.flatten()}
        yield {**parts, name: part[None]}
        for dtype in set(OTHERS) - {part.dtype}:
            yield {**parts, name: torch.zeros(part.shape, dtype=dtype)}
        for at in range(part.ndim):
            for size in {0, 1, part.shape[at] - 1, part.shape[at] + 1} - {part.shape[at]}:
                shape = (*part.shape[:at], size, *part.shape[at + 1 :])
                yield {**parts, name: torch.zeros(shape, dtype=part.dtype)}


@pytest.mark.parametrize("codec", CODECS)
def test_every_single_wrong_part_is_found(sound: dict[str, Parts], codec: str) -> None:
    parts = sound[codec]
    check_parts(codec, parts, TOKENS)
    for wrong in mutilated(parts):
        with pytest.raises(ValueError, match=rf"part \w+ of codec {codec} is"):
            check_parts(codec, wrong, TOKENS)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("tokens", [0, 1, TOKENS - 1, TOKENS + 1, -TOKENS, 2**70])
def test_another_number_of_tokens_is_found(
    sound: dict[str, Parts], codec: str, tokens: int
) -> None:
    with pytest.raises(ValueError, match="part k of codec"):
        check_parts(codec, sound[codec], tokens)


@pytest.mark.parametrize("codec", CODECS)
def test_parts_of_another_codec_are_found(sound: dict[str, Parts], codec: str) -> None:
    # bfloat16 kept exactly is bfloat16.
    same = {"exact", "bf16"} if codec in ("exact", "bf16") else {codec}
    for other in set(CODECS) - same:
        with pytest.raises(ValueError, match=f"of codec {codec} is"):
            check_parts(codec, sound[other], TOKENS)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(0, TOKENS, 2, 6), (0, 0, 2, 6)])
def test_an_empty_band_says_nothing_about_tokens(codec: str, shape: tuple[int, ...]) -> None:
    x = torch.empty(shape)
    check_parts(codec, encode(codec, x, x), TOKENS)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float8_e4m3fn])
def test_exact_keeps_no_numbers_a_model_cannot_have_made(dtype: torch.dtype) -> None:
    x = torch.zeros(1, TOKENS, 1, 2, dtype=dtype)
    with pytest.raises(ValueError, match="part k of codec exact is"):
        check_parts("exact", {"k": x, "v": x}, TOKENS)


SIZES = st.lists(st.integers(0, 3), min_size=0, max_size=5)
ANY = st.dictionaries(
    st.sampled_from(["k", "v", "k_scale", "v_scale", "k_centre", "v_centre"]),
    st.builds(lambda size, dtype: torch.zeros(size, dtype=dtype), SIZES, st.sampled_from(OTHERS)),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CODECS), ANY, st.integers(0, 3))
def test_what_passes_can_be_decoded(codec: str, parts: Parts, tokens: int) -> None:
    try:
        check_parts(codec, parts, tokens)
    except ValueError:
        return
    for at in range(len(parts["k"])):
        for x in decode_layer(codec, parts, at, torch.bfloat16):
            assert x.shape[0] == tokens


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 5000), st.integers(1, 200))
def test_groups_are_as_small_and_as_equal_as_they_may_be(tokens: int, least: int) -> None:
    grouping = Grouping(tokens=least)
    length, groups = grouping.length(tokens), grouping.shape(1, tokens, 1, 2)[1]
    assert (groups - 1) * length < max(tokens, 1) <= max(groups, 1) * length
    assert length < 2 * least
    assert length >= min(least, max(tokens, 1))
    number_of = grouping.spread(torch.arange(groups), tokens)
    assert torch.equal(number_of, torch.arange(tokens) // length)


@given(st.integers(1, 150).map(lambda n: 2 * n), st.integers(1, 200))
def test_groups_of_channels_are_equal(dim: int, least: int) -> None:
    groups = Grouping(channels=least).shape(1, 5, 1, dim)[3]
    assert dim % groups == 0
    assert dim // groups >= min(least, dim)
    assert not any(dim % more == 0 for more in range(groups + 1, dim // least + 1))
