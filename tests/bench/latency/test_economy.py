"""When reading ahead has paid for itself, against sums made the long way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minireranker.bench.latency.economy import amortised, break_even

COST = st.floats(1e-3, 10.0)


@given(COST, COST, COST, COST)
def test_it_pays_from_the_first_count_at_which_ours_is_no_dearer(
    index: float, pair: float, cold: float, warm: float
) -> None:
    found = break_even(index, pair, [cold], [warm])

    def gain(count: int) -> float:
        return cold + (count - 1) * warm - index - count * pair

    if found is None:
        assert gain(10**9) < 1e-6, "in the long run it does not"
    else:
        assert gain(found) >= -1e-6 * found
        assert warm >= pair, "and it goes on to"
        assert found == 1 or gain(found - 1) < 1e-6 * found


def test_costs_go_down_to_the_pair() -> None:
    found = amortised(10.0, 1.0)
    assert found["1"] == 11.0
    assert found["100"] == pytest.approx(1.1)
    assert list(found.values()) == sorted(found.values(), reverse=True)
