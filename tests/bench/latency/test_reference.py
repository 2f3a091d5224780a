"""When a peer's scores are the unmodified model's, and when they are not."""

from __future__ import annotations

import math

import pytest

from minireranker.bench.latency.reference import References
from minireranker.engine.results import probability

EXACT = [[1.0, -1.0], [0.5, 3.0]]


def references(error: float, rounding: float = 0.0) -> References:
    own = [[score + error for score in row] for row in EXACT]
    return References([], {"dense": EXACT}, {"dense": own}, rounding)


def found(difference: float) -> list[list[float]]:
    return [[1.0, -1.0], [0.5, 3.0 + difference]]


@pytest.mark.parametrize(
    ("error", "rounding", "difference", "agrees"),
    [
        (0.01, 0.0, 0.019, True),
        (0.01, 0.0, 0.021, False),
        (0.01, 0.0, -0.021, False),
        (0.01, 0.01, 0.049, True),  # one rounding of the largest score
        (0.01, 0.01, 0.051, False),
        (0.0, 0.0, 1e-4, True),  # 1e-4 of the spread, 1.45
        (0.0, 0.0, 1.6e-4, False),
    ],
)
def test_a_difference_is_held_to_twice_the_models_own(
    error: float, rounding: float, difference: float, agrees: bool
) -> None:
    told = references(error, rounding).agreement("dense", found(difference))
    assert told["agrees"] is agrees
    assert told["difference"] == pytest.approx(abs(difference))
    assert told["reference_error"] == pytest.approx(error)
    assert told["pairs"] == 4


def test_units_that_were_not_reached_do_not_count() -> None:
    told = references(0.01).agreement("dense", found(9.0)[:1])
    assert told["agrees"]
    assert told["pairs"] == 2


def test_what_is_no_number_agrees_with_nothing() -> None:
    told = references(0.01).agreement("dense", found(math.nan))
    assert (told["agrees"], told["difference"]) == (False, None)


def test_probabilities_are_compared_as_such() -> None:
    held = references(0.01)
    same = [[probability(score) for score in row] for row in EXACT]
    told = held.agreement("dense", same, "probability")
    assert told["agrees"]
    assert told["difference"] == pytest.approx(0.0, abs=1e-12)
    same[0][0] += 0.01
    assert not held.agreement("dense", same, "probability")["agrees"]
