"""Bootstrap intervals: seeded, paired, and as wide as statistics says."""

import math

import numpy as np
import pytest

from minireranker.errors import ConfigurationError
from minireranker.relevance import Interval, bootstrap


def test_it_is_as_wide_as_the_normal_approximation():
    values = np.random.default_rng(5).normal(0.7, 0.2, 400)
    found = bootstrap(values, resamples=4_000)
    error = 1.96 * values.std() / math.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.mean - found.low == pytest.approx(error, rel=0.1)
    assert found.high - found.mean == pytest.approx(error, rel=0.1)


def test_more_confidence_is_wider():
    values = list(np.random.default_rng(1).random(50))
    narrow, wide = (bootstrap(values, confidence=share) for share in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_seed_decides_which_queries_are_drawn():
    values = list(np.random.default_rng(2).random(30))
    assert bootstrap(values, seed=4) == bootstrap(values, seed=4)
    assert bootstrap(values, seed=4) != bootstrap(values, seed=5)


def test_a_constant_difference_has_no_width():
    first = np.random.default_rng(3).random(20)
    found = bootstrap(list((first + 0.25) - first))
    assert (found.low, found.high) == pytest.approx((0.25, 0.25))


def test_unknown_values_are_left_out():
    assert bootstrap([1.0, math.nan, 1.0]) == Interval(1.0, 1.0, 1.0)
    assert all(map(math.isnan, vars(bootstrap([math.nan])).values()))
    assert math.isnan(bootstrap([]).mean)


def test_many_queries_are_drawn_in_parts():
    values = np.random.default_rng(6).random(2**20)
    found = bootstrap(values, resamples=3)
    assert found.low < found.high
    assert found.mean == pytest.approx(0.5, abs=1e-3)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigurationError, match="resamples = 0"):
        bootstrap([1.0], resamples=0)
    with pytest.raises(ConfigurationError, match=r"confidence = 1\.0"):
        bootstrap([1.0], confidence=1.0)
