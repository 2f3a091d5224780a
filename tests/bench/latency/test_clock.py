"""Who waits for whom: order and arrivals are checked, never how long something took."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minireranker.bench.latency.clock import (
    Sample,
    arrivals,
    closed_loop,
    one_after_another,
    open_loop,
)


def test_one_after_another_leaves_out_what_lies_between() -> None:
    samples: list[Sample] = []
    done: list[str] = []
    one_after_another(
        lambda at: done.append(f"work {at}"), 3, samples, lambda: done.append("settle")
    )
    assert done == ["settle", "work 0", "settle", "work 1", "settle", "work 2"]
    assert samples[0].arrival == 0.0
    for one, two in itertools.pairwise(samples):
        assert two.arrival == two.start == one.end


def test_a_latency_counts_from_the_arrival() -> None:
    """One server that is held up: all who came meanwhile have waited since they came."""
    held, samples = threading.Event(), list[Sample]()

    def work(number: int) -> None:
        if number == 0:
            held.wait(0.05)

    open_loop(work, [0.0, 0.0, 0.0], 1, samples)
    assert [sample.arrival for sample in samples] == [0.0, 0.0, 0.0]
    first = samples[0].end
    for sample in samples[1:]:
        assert sample.start >= first
        assert sample.latency >= first > sample.service


def test_open_requests_do_not_start_before_they_arrive() -> None:
    times, samples = [0.0, 0.01, 0.02, 0.03], list[Sample]()
    open_loop(lambda number: None, times, 2, samples)
    assert sorted(sample.arrival for sample in samples) == times
    assert all(sample.start >= sample.arrival for sample in samples)


@pytest.mark.parametrize("loop", ["closed", "open"])
def test_as_many_at_once_as_asked_and_every_request_once(loop: str) -> None:
    meeting, samples = threading.Barrier(3, timeout=20), list[Sample]()
    seen: list[int] = []

    def work(number: int) -> None:
        seen.append(number)
        meeting.wait()  # breaks unless three are inside at once

    if loop == "closed":
        closed_loop(work, 9, 3, samples)
    else:
        open_loop(work, [0.0] * 9, 3, samples)
    assert sorted(seen) == list(range(9))
    assert len(samples) == 9


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_last_client_ends_all(error: type[BaseException]) -> None:
    meeting, seen = threading.Barrier(2, timeout=20), list[int]()

    def work(number: int) -> None:
        if len(seen) < 2:
            seen.append(number)
            meeting.wait()
        if threading.current_thread().name.endswith("_1"):
            raise error("enough")
        seen.append(number)

    with pytest.raises(error, match="enough"):
        closed_loop(work, 300_000, 2, [])
    assert len(seen) < 300_000


@given(st.integers(1, 200), st.floats(0.1, 1e4), st.integers(0, 3))
def test_arrivals_ascend_and_are_the_seeds(count: int, rate: float, seed: int) -> None:
    times = arrivals(count, rate, seed)
    assert times == sorted(times) == arrivals(count, rate, seed)
    assert len(times) == count
    assert times != arrivals(count, rate, seed + 1)
    assert arrivals(count, 2 * rate, seed) == pytest.approx([each / 2 for each in times])


def test_arrivals_come_at_their_rate() -> None:
    times = arrivals(20_000, 50.0, 0)
    assert times[-1] == pytest.approx(400.0, rel=0.03)
    gaps = [two - one for one, two in itertools.pairwise(times)]
    memoryless = sum(gap > 0.02 for gap in gaps) / len(gaps)
    assert memoryless == pytest.approx(0.3679, abs=0.02)  # e^-1 beyond the mean gap
