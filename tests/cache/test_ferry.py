"""Entries on their way to a device: order, bounds, and who waits for what.

The lane here copies within the CPU and writes down what it is asked; which copies are done is the
test's to say.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Hashable, Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minireranker.cache import Cache, KeptTokens, Namespace, PrefixEntry
from minireranker.cache.ferry import Ferry
from minireranker.cache.placement import ready


class Passage:
    """A mark that is passed when the test, or whoever waits for it, says so."""

    def __init__(self, number: int, waits: list[int]) -> None:
        self.number, self.passed, self._waits = number, False, waits

    def query(self) -> bool:
        return self.passed

    def synchronize(self) -> None:
        self._waits.append(self.number)
        self.passed = True


class Recording:
    """A lane; its streams are names, one a thread."""

    def __init__(self) -> None:
        self.copied: list[dict[str, Tensor]] = []
        self.marks: list[Passage] = []
        self.host_waits: list[int] = []
        self.stream_waits: list[tuple[str, int]] = []
        self.held: list[tuple[str, int]] = []
        self.streams = threading.local()

    def stage(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)

    def copy(self, staged: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Passage]:
        self.copied.append(dict(staged))
        self.marks.append(Passage(len(self.marks), self.host_waits))
        return {name: tensor.clone() for name, tensor in staged.items()}, self.marks[-1]

    def stream(self) -> Hashable:
        return str(getattr(self.streams, "name", "first"))

    def wait(self, mark: object) -> None:
        assert isinstance(mark, Passage)
        self.stream_waits.append((str(self.stream()), mark.number))

    def hold(self, tensor: Tensor) -> None:
        self.held.append((str(self.stream()), tensor.data_ptr()))


def entry(tokens: int, seed: int = 0) -> PrefixEntry:
    """K and V of ``512 * tokens`` bytes together."""
    random = torch.Generator().manual_seed(seed)
    k, v = (torch.randn(2, tokens, 2, 16, generator=random) for _ in "kv")
    visual = KeptTokens((1, 1, tokens), torch.arange(tokens, dtype=torch.int32))
    return PrefixEntry.encoded("exact", k, v, span=tokens, tokens=tokens, visuals=[visual])


def test_what_arrives_is_what_was_sent_and_its_visuals_stay() -> None:
    lane, kept = Recording(), entry(5)
    sent = Ferry(lane).send(kept)
    assert sent.fields() == kept.fields()
    for name, tensor in sent.tensors().items():
        assert torch.equal(tensor, kept.tensors()[name])
        assert tensor.data_ptr() != kept.tensors()[name].data_ptr(), "nothing of a file stays open"
    assert list(lane.copied[0]) == ["k", "v"]
    assert (lane.host_waits, lane.stream_waits) == ([], [])


def test_a_stream_waits_once_and_no_thread_does() -> None:
    lane = Recording()
    ferry = Ferry(lane)
    first, second = ferry.send(entry(3)), ferry.send(entry(4))
    assert not ferry.has(second)
    assert ferry.receive(second) is second
    assert ferry.has(second)
    assert not ferry.has(first)
    assert ferry.receive(second) is second
    assert lane.stream_waits == [("first", 1)]
    assert lane.held == [("first", t.data_ptr()) for t in second.parts.values()]
    lane.streams.name = "second"
    assert not ferry.has(second)
    ferry.receive(second)
    assert lane.stream_waits == [("first", 1), ("second", 1)], "each stream for itself"
    lane.marks[0].passed = True
    ferry.receive(first)
    assert len(lane.stream_waits) == 2, "nothing left to wait for"
    assert lane.held[-1] == ("second", first.parts["v"].data_ptr()), "but its memory is held"
    assert lane.host_waits == []


def test_an_entry_that_was_computed_there_is_only_held() -> None:
    lane, computed = Recording(), entry(3)
    ferry = Ferry(lane)
    ferry.receive(computed)
    ferry.receive(computed)
    assert lane.held == [("first", t.data_ptr()) for t in computed.parts.values()]
    assert lane.stream_waits == []


@given(
    tokens=st.lists(st.integers(1, 12), max_size=30),
    passing=st.lists(st.integers(0, 3), min_size=30, max_size=30),
)
def test_copies_under_way_are_bounded_and_in_order(tokens: list[int], passing: list[int]) -> None:
    lane, most = Recording(), 512 * 10
    ferry = Ferry(lane, most)
    done = 0
    for number, (count, more) in enumerate(zip(tokens, passing, strict=False)):
        ferry.send(entry(count))
        under_way = [n for n in range(number + 1) if not lane.marks[n].passed]
        held = sum(512 * tokens[n] for n in under_way)
        assert held <= max(most, 512 * count), "one alone may be of any size"
        assert ferry.bytes >= held
        done = min(max(done, len(lane.host_waits)) + more, number + 1)
        for n in range(done):
            lane.marks[n].passed = True
    assert lane.host_waits == sorted(lane.host_waits), "for the oldest first"
    assert [found["k"].shape[1] for found in lane.copied] == tokens


def test_a_sender_waits_no_longer_than_it_has_to() -> None:
    lane = Recording()
    ferry = Ferry(lane, 512 * 10)
    for _ in range(3):
        ferry.send(entry(4))
    assert lane.host_waits == [0]
    lane.marks[1].passed = True
    ferry.send(entry(4))
    assert lane.host_waits == [0], "the second was done by itself"
    ferry.send(entry(4))
    assert lane.host_waits == [0, 2]


def test_an_entry_nobody_holds_any_more_is_forgotten() -> None:
    lane = Recording()
    ferry = Ferry(lane)
    for seed in range(5):
        ferry.receive(ferry.send(entry(3, seed)))
    gc.collect()
    assert len(ferry) == 0


def test_many_threads_send_through_one_lane() -> None:
    lane = Recording()
    ferry = Ferry(lane, 512 * 6)
    sent: dict[int, PrefixEntry] = {}

    def send(seeds: range) -> None:
        for seed in seeds:
            sent[seed] = ferry.send(entry(1 + seed % 5, seed))

    threads = [threading.Thread(target=send, args=(range(n, 80, 4),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(sent) == 80
    for seed, found in sent.items():
        assert torch.equal(found.parts["k"], entry(1 + seed % 5, seed).parts["k"])
        ferry.receive(found)
    assert len(lane.held) == 160


def test_on_a_cpu_nothing_of_it_runs(tmp_path: Path) -> None:
    kept = entry(5)
    assert ready(kept, None) is kept
    assert ready(kept, torch.device("cpu")) is kept
    key = Namespace({"weights": "w"}).key({"n": 1})
    with Cache(tmp_path) as cache:
        cache.put(key, kept)
        with cache.prefetch([key], PrefixEntry, "cpu") as fetched:
            assert fetched.take(key) is kept


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_they_arrive_bit_for_bit_beside_its_arithmetic() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    busy = torch.randn(4096, 4096, device=device)
    kept = [entry(500 + seed, seed) for seed in range(20)]
    for item in kept:
        busy = busy @ busy / 64
        found = ready(item, device)
        assert torch.equal((found.parts["k"] * 1).cpu(), item.parts["k"])
        assert found.visuals[0].indices.device.type == "cpu"
