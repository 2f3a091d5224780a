"""Pruning: the most important visual tokens of each image or video, in their order."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.engine.pixels import Visual
from minireranker.engine.pruning import kept_tokens
from minireranker.errors import ImportanceError


def image(rows: int, columns: int) -> Visual:
    """An image of that many merged tokens."""
    return Visual("image", np.zeros((1, 32 * rows, 32 * columns, 3), np.uint8), (), (64, 64))


def video(patches: int, rows: int, columns: int) -> Visual:
    """A video of that many temporal patches."""
    frames = np.zeros((2 * patches, 32 * rows, 32 * columns, 3), np.uint8)
    return Visual("video", frames, tuple(map(float, range(patches))), (64, 64))


@settings(max_examples=50, deadline=None)
@given(data=st.data(), hundredths=st.integers(1, 99), tokens=st.integers(1, 40))
def test_the_top_share_is_kept_in_order_and_ties_go_to_the_earlier(
    data: st.DataObject, hundredths: int, tokens: int
) -> None:
    worth = data.draw(st.lists(st.integers(-2, 2), min_size=tokens, max_size=tokens))
    (kept,) = kept_tokens([image(1, tokens)], [worth], hundredths / 100)
    count = -(-hundredths * tokens // 100)
    best_first = sorted(range(tokens), key=lambda token: (-worth[token], token))
    assert kept.tolist() == sorted(best_first[:count])
    assert kept.dtype == np.int64


@pytest.mark.parametrize(
    ("ratio", "tokens", "count"),
    [
        (0.1, 30, 3),
        (0.1, 31, 4),
        (0.7, 10, 7),
        (0.07, 100, 7),
        (0.29, 100, 29),
        (0.57, 100, 57),
        (0.333, 1000, 333),
        (0.5, 1, 1),
        (0.5, 3, 2),
        (0.999999, 7, 7),
        (1e-12, 30, 1),
        (0.1000000001, 30, 4),
    ],
)
def test_the_count_is_the_ceiling_of_the_ratio_as_written(
    ratio: float, tokens: int, count: int
) -> None:
    assert math.ceil(Fraction(str(ratio)) * tokens) == count
    for written in (ratio, np.float64(ratio)):
        (kept,) = kept_tokens([image(1, tokens)], [np.arange(tokens)], written)
        assert kept.tolist() == list(range(tokens - count, tokens))


def test_each_image_has_its_own_share_and_a_video_shares_among_its_frames() -> None:
    still, film = image(2, 3), video(3, 1, 4)
    low, high = np.arange(6) / 1e6, np.arange(12) * 1e6
    high[[0, 1]] = 1e9, 2e9
    kept = kept_tokens([film, still], [high, low], 0.5)
    assert [part.tolist() for part in kept] == [[0, 1, 8, 9, 10, 11], [3, 4, 5]]


@pytest.mark.parametrize("make", [list, np.asarray, torch.tensor, tuple])
def test_importances_may_be_of_any_kind_and_shape(make: Any) -> None:
    grid = [[0.5, 3.0, 1.0], [2.0, -1.0, 2.5]]
    (kept,) = kept_tokens([image(2, 3)], [make(grid)], 0.5)
    assert kept.tolist() == [1, 3, 5]


def test_keeping_all_needs_no_importances() -> None:
    kept = kept_tokens([image(2, 2), video(2, 1, 2)], [], 1.0)
    assert [part.tolist() for part in kept] == [[0, 1, 2, 3]] * 2
    assert kept_tokens([], [], 0.5) == ()


@pytest.mark.parametrize("importances", [[], [None, None], [np.arange(6), None]])
def test_nothing_is_dropped_by_guessing(importances: list[Any]) -> None:
    with pytest.raises(ImportanceError, match=r"0\.61803 .*embedder=.*keep_ratio=1\.0"):
        kept_tokens([image(2, 3), image(2, 3)], importances, 0.61803)


NAN, INFINITY = float("nan"), float("inf")
WRONG: list[tuple[list[Any], str]] = [
    ([np.arange(6)], "1 importance arrays for 2 images and videos"),
    ([np.arange(6), None, None], "3 importance arrays for 2 images and videos"),
    ([np.arange(5), None], r"5 importances for 6 visual tokens \(1 x 2 x 3 "),
    ([np.arange(24), None], r"24 importances for 6 visual tokens"),
    ([[], None], "0 importances for 6 visual tokens"),
    ([np.arange(6), np.arange(4)], r"4 importances for 8 visual tokens \(2 x 1 x 4 "),
    ([[1, 2, 3, 4, NAN, NAN], None], "2 of 6 importances .* first number 4: nan"),
    ([[1, -INFINITY, 3, 4, 5, 6], None], "1 of 6 importances .* first number 1: -inf"),
    ([[1, None, 3, 4, 5, 6], None], "first number 1: nan"),
    ([["high", "low"], None], "not an array of numbers: .*'high'"),
    ([[[1, 2], [3]], None], "not an array of numbers"),
    ([object(), None], "not an array of numbers"),
    ([{"a": 1}, None], "not an array of numbers"),
    ([torch.ones(6, requires_grad=True), None], "not an array of numbers: .*requires grad"),
    ([torch.ones(6, dtype=torch.bfloat16), None], "not an array of numbers: .*BFloat16"),
]


@pytest.mark.parametrize(("importances", "message"), WRONG)
def test_what_does_not_fit_is_refused_with_its_numbers(
    importances: list[Any], message: str
) -> None:
    with pytest.raises(ImportanceError, match=message):
        kept_tokens([image(2, 3), video(2, 1, 4)], importances, 0.5)
