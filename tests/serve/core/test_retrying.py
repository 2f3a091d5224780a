"""When a client comes back, and when it gives up."""

from __future__ import annotations

import time
from typing import Any

import pytest

from minireranker.errors import ConfigurationError
from minireranker.serve.retrying import PUSHBACK, Attempts, Retries


def waits(attempts: Attempts, code: str = "UNAVAILABLE", **trailers: Any) -> list[float]:
    found = []
    while (pause := attempts.pause(code, trailers)) is not None:
        found.append(pause)
    return found


def test_waits_double_up_to_a_bound_and_end_with_the_attempts() -> None:
    found = waits(Attempts(Retries(attempts=7, first=1.0, most=8.0), None))
    longest = [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert len(found) == 6
    assert all(most / 2 <= wait <= most for wait, most in zip(found, longest, strict=True))


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "DEADLINE_EXCEEDED"])
def test_what_will_not_get_better_is_not_tried_again(code: str) -> None:
    assert waits(Attempts(Retries(), None), code) == []


def test_overload_waits_as_long_as_it_is_told_and_a_long_message_does_not() -> None:
    retries = Retries(attempts=3, first=0.01, most=0.01)
    assert waits(Attempts(retries, None), "RESOURCE_EXHAUSTED", **{PUSHBACK: "2500"}) == [2.5, 2.5]
    for pushback in ({}, {PUSHBACK: "-1"}, {PUSHBACK: "soon"}):
        assert waits(Attempts(retries, None), "RESOURCE_EXHAUSTED", **pushback) == []


def test_nobody_waits_beyond_his_time() -> None:
    attempts = Attempts(Retries(first=5.0, most=5.0), 1.0)
    assert attempts.left is not None
    assert 0 < attempts.left <= 1.0
    assert waits(attempts) == []
    assert Attempts(Retries(), None).left is None
    late = Attempts(Retries(), 1e-9)
    time.sleep(0.001)
    assert late.left == 0.0


@pytest.mark.parametrize(
    "numbers", [{"attempts": 0}, {"attempts": True}, {"first": 0.0}, {"first": 6.0}]
)
def test_numbers_that_make_no_sense_are_refused(numbers: Any) -> None:
    with pytest.raises(ConfigurationError, match="allowed is"):
        Retries(**numbers)
