"""Percentiles are samples, ratios have a spread, and intervals hold what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minireranker.bench.latency.statistics import percentile, ratio_interval, spread, summary

SAMPLES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60)


@given(SAMPLES, st.sampled_from([1, 50, 90, 95, 99, 100]))
def test_a_percentile_is_the_nearest_rank(samples: list[float], percent: int) -> None:
    found = percentile(samples, percent)
    below = sum(each <= found for each in samples)
    assert found in samples
    assert 100 * below >= percent * len(samples)
    assert 100 * sum(each < found for each in samples) < percent * len(samples)
    assert found == np.percentile(samples, percent, method="inverted_cdf")


def test_of_few_samples_the_last_percentile_is_the_largest() -> None:
    found = summary([3.0, 1.0, 2.0])
    assert found == {"p50": 2.0, "p90": 3.0, "p95": 3.0, "p99": 3.0, "mean": 2.0}


def test_a_spread_is_median_and_ends() -> None:
    assert spread([4.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 4.0}


@pytest.mark.parametrize("count", [1, 3])
def test_of_few_samples_the_ratio_may_be_anything(count: int) -> None:
    for sizes in ((count, 9), (9, count)):
        found = ratio_interval([2.0] * sizes[0], [3.0] * sizes[1])
        assert (found.ratio, found.low, found.high) == (1.5, 0.0, math.inf)
    assert ratio_interval([2.0] * 4, [3.0] * 4).low == 1.5


@given(SAMPLES, SAMPLES, st.floats(1e-3, 1e3))
def test_an_interval_scales_with_the_second(
    base: list[float], other: list[float], factor: float
) -> None:
    one = ratio_interval(base, other, resamples=50)
    two = ratio_interval(base, [factor * each for each in other], resamples=50)
    for name in ("ratio", "low", "high"):
        assert getattr(two, name) == pytest.approx(factor * getattr(one, name))


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for seed in range(200):
        base, other = (mean * random.lognormal(0, 0.2, 30) for mean in (1.0, 1.1))
        found = ratio_interval(base.tolist(), other.tolist(), seed=seed, resamples=400)
        inside += found.low <= 1.1 <= found.high
    assert 180 <= inside <= 200
