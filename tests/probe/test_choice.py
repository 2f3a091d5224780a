"""The rules on curves made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from minireranker.probe.choice import choose_exit, choose_high, choose_keep, choose_low, objection
from minireranker.probe.curves import Curve, Interval
from minireranker.probe.settings import ProbeSettings

RULES = ProbeSettings(max_loss=0.02, min_correlation=0.95)


def at(value: float, width: float = 0.0) -> Interval:
    return Interval(value, value - width, value + width)


def by(*values: float, width: float = 0.0, first: int = 1) -> dict[int, Interval]:
    return {number: at(value, width) for number, value in enumerate(values, first)}


@pytest.mark.parametrize(
    ("losses", "width", "wanted"),
    [
        ((-0.3, -0.1, -0.01, 0.0, 0.0), 0.0, 3),
        ((-0.01, -0.1, -0.01, 0.01, 0.0), 0.0, 3),
        ((-0.3, -0.1, -0.03, -0.03, 0.0), 0.0, 5),
        ((-0.01, -0.01, -0.01, -0.01, 0.0), 0.02, 5),
        ((0.0, 0.0, 0.0, 0.0, 0.0), 0.0, 1),
    ],
    ids=["plateau", "a lucky early layer", "no plateau", "too uncertain", "flat"],
)
def test_exit(losses: tuple[float, ...], width: float, wanted: int) -> None:
    found, reason = choose_exit(by(*losses, width=width), 5, RULES)
    assert found == wanted
    assert f"exit {wanted}" in reason


@pytest.mark.parametrize(
    ("agreement", "wanted"),
    [
        ((1.0, 0.99, 0.97, 0.9, 0.99, 0.0), 2),
        ((1.0, 0.94, 0.99, 0.99, 0.99, 0.0), 0),
        ((1.0, 1.0, 1.0, 1.0, 1.0, 1.0), 4),
    ],
)
def test_band_start(agreement: tuple[float, ...], wanted: int) -> None:
    found, reason = choose_low(by(*agreement, first=0), 5, RULES)
    assert found == wanted
    assert f"at layer {wanted}" in reason


@pytest.mark.parametrize(
    ("agreement", "low", "wanted"),
    [
        ((0.0, 0.99, 0.5, 0.96, 0.99, 1.0), 1, 3),
        ((0.0, 0.99, 0.99, 0.99, 0.9, 1.0), 1, 5),
        ((0.0, 1.0, 1.0, 1.0, 1.0, 1.0), 2, 3),
    ],
)
def test_band_end(agreement: tuple[float, ...], low: int, wanted: int) -> None:
    found, reason = choose_high(by(*agreement, first=0), low, 5, RULES)
    assert found == wanted
    assert str(wanted) in reason


def test_keep_ratio() -> None:
    assert choose_keep({0.75: at(-0.01), 0.5: at(-0.015), 0.25: at(-0.1)}, RULES)[0] == 0.5
    assert choose_keep({0.75: at(-0.03), 0.5: at(0.0)}, RULES)[0] == 1.0


def test_objections() -> None:
    assert objection(20, at(0.3, 0.1), RULES) is None
    assert "19 queries" in str(objection(19, at(0.3, 0.1), RULES))
    assert "+0.050 over chance (-0.050 to +0.150)" in str(objection(20, at(0.05, 0.1), RULES))


def test_an_interval_holds_its_share_of_the_resamples() -> None:
    found = Interval.of(np.array([5.0, *np.arange(101.0)]), 0.9)
    assert (found.value, found.low, found.high) == pytest.approx((5.0, 5.0, 95.0))
    curve = Curve.of({2.0: found, 1.0: at(0.5)})
    assert curve.at == (1.0, 2.0)
    assert curve.columns()["high"] == [0.5, 95.0]
