"""Two rankings against each other: by hand, and by a definition that counts every pair."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minireranker.errors import ConfigurationError
from minireranker.relevance import kendall_tau, overlap

NUMBERS = st.sampled_from([-math.inf, -1.5, 0.0, 0.5, 2.0, math.inf])


def _sign(a, b):
    return (a > b) - (a < b)


def _by_definition(first, second):
    pairs = [
        (_sign(first[i], first[j]), _sign(second[i], second[j]))
        for i, j in combinations(range(len(first)), 2)
    ]
    scale = math.sqrt(sum(a != 0 for a, _ in pairs) * sum(b != 0 for _, b in pairs))
    return sum(a * b for a, b in pairs) / scale if scale else math.nan


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12))
def test_tau_is_its_definition_with_ties(rows):
    first, second = [a for a, _ in rows], [b for _, b in rows]
    expected = _by_definition(first, second)
    assert kendall_tau(first, second) == pytest.approx(expected, nan_ok=True)


def test_tau_by_hand():
    assert kendall_tau([4, 3, 2, 1], [8, 6, 4, 2]) == 1.0
    assert kendall_tau([4, 3, 2, 1], [1, 2, 3, 4]) == -1.0
    assert kendall_tau([4, 3, 2, 1], [4, 3, 1, 2]) == pytest.approx(4 / 6)
    assert kendall_tau([2, 2, 1], [3, 2, 1]) == pytest.approx(2 / math.sqrt(2 * 3))


@pytest.mark.parametrize("scores", [[], [1.0], [1.0, 1.0]])
def test_tau_of_nothing_to_order_is_unknown(scores):
    assert math.isnan(kendall_tau(scores, list(range(len(scores)))))


def test_tau_refuses_what_cannot_be_compared():
    with pytest.raises(ConfigurationError, match="2 and 1 scores"):
        kendall_tau([1, 2], [1])
    with pytest.raises(ConfigurationError, match="NaN"):
        kendall_tau([1, math.nan], [1, 2])


def test_overlap_is_the_share_of_the_top():
    assert overlap("abcd", "bacd", 1) == 0.0
    assert overlap("abcd", "bacd", 2) == 1.0
    assert overlap("abcd", "badc", 3) == pytest.approx(2 / 3)


def test_overlap_of_short_rankings_is_of_all():
    assert overlap("ab", "ba", 10) == 1.0
    assert overlap("ab", "a", 10) == 0.5
    assert math.isnan(overlap("", "a", 10))
    with pytest.raises(ConfigurationError, match="allowed is 1 or more"):
        overlap("a", "a", 0)
