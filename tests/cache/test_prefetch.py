"""Prefetch: order, bounds, what is counted, and its end; the tiers below are plain functions."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from minireranker.cache import Cache, FeatureEntry, Namespace, prefetch
from minireranker.cache.placement import ready
from minireranker.cache.prefetch import THREADS, Lookup, Prefetch

WAIT = 10


def entry(value: int, size: int = 8) -> FeatureEntry:
    """Of so many bytes."""
    return FeatureEntry(torch.full((size,), value, dtype=torch.uint8), ())


class Tiers:
    """A memory and something slow below; what was asked of it, in order."""

    def __init__(self) -> None:
        self.memory: dict[str, FeatureEntry] = {}
        self.below: dict[str, FeatureEntry] = {}
        self.loaded: list[str] = []
        self.got: list[str] = []
        self.counted: list[bool] = []
        self.door = threading.Event()
        self.door.set()
        self.at_door = 0
        self.most_at_door = 0
        self.pool = ThreadPoolExecutor(2 * THREADS)
        self.lookup = Lookup(self.memory.get, self.load, self.get, self.counted.append)
        self.lock = threading.Lock()

    def load(self, key: str) -> FeatureEntry | None:
        with self.lock:
            self.loaded.append(key)
            self.at_door += 1
            self.most_at_door = max(self.most_at_door, self.at_door)
        assert self.door.wait(WAIT)
        with self.lock:
            self.at_door -= 1
        if key == "bad":
            raise OSError("no such luck")
        return self.below.get(key)

    def get(self, key: str) -> FeatureEntry | None:
        self.got.append(key)
        return self.below.get(key)

    def fill(self, count: int, size: int = 8) -> list[str]:
        self.below = {str(number): entry(number % 256, size) for number in range(count)}
        return list(self.below)

    def prefetch(self, keys: list[str]) -> Prefetch[FeatureEntry]:
        return Prefetch(keys, self.lookup, self.pool)

    def settle(self) -> None:
        """Until nothing has been loaded for a while."""
        before = -1
        while before != len(self.loaded):
            before = len(self.loaded)
            time.sleep(0.02)


@pytest.fixture
def tiers() -> Iterator[Tiers]:
    made = Tiers()
    yield made
    made.door.set()
    made.pool.shutdown(wait=True)


def test_a_list_is_loaded_ahead_and_taken_in_order(tiers: Tiers) -> None:
    keys = tiers.fill(300)
    with tiers.prefetch(keys) as fetched:
        for key in keys:
            assert fetched.take(key) is tiers.below[key]
        assert fetched.bytes == 0
    assert sorted(tiers.loaded) == sorted(keys)
    assert (tiers.got, tiers.counted) == ([], [False] * 300)


def test_loading_starts_in_order_in_few_threads(tiers: Tiers) -> None:
    tiers.door.clear()
    keys = tiers.fill(20)
    with tiers.prefetch(keys) as fetched:
        tiers.settle()
        assert sorted(tiers.loaded) == keys[:THREADS]
        tiers.door.set()
        tiers.settle()
        assert fetched.take(keys[-1]) is tiers.below[keys[-1]]
    assert tiers.most_at_door == THREADS
    assert tiers.got == []


def test_so_many_entries_are_held_ahead(tiers: Tiers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "AHEAD_ENTRIES", 10)
    keys = tiers.fill(50)
    with tiers.prefetch(keys) as fetched:
        for taken in range(50):
            tiers.settle() if taken in (0, 1, 2, 20) else None
            assert len(tiers.loaded) <= taken + 10
            if taken in (0, 1, 2, 20):
                assert sorted(tiers.loaded, key=int) == keys[: taken + 10]
            fetched.take(keys[taken])
    assert tiers.got == []


def test_so_many_bytes_are_held_ahead(tiers: Tiers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "AHEAD_BYTES", 100)
    keys = tiers.fill(50, size=30)
    with tiers.prefetch(keys) as fetched:
        for key in keys:
            tiers.settle() if key in keys[:3] else None
            assert fetched.bytes <= 100 + THREADS * 30
            if key in keys[:3]:
                assert fetched.bytes >= 100
            fetched.take(key)
    assert tiers.got == []


def test_what_is_in_memory_is_not_loaded_and_kept_until_its_turn(tiers: Tiers) -> None:
    tiers.memory["a"] = held = entry(1)
    tiers.below["b"] = entry(2)
    with tiers.prefetch(["a", "b", "a"]) as fetched:
        tiers.memory.clear()
        assert fetched.take("a") is held
        assert fetched.take("b") is tiers.below["b"]
        assert fetched.take("a") is held
    assert (tiers.loaded, tiers.counted) == (["b"], [True, False, True])


def test_a_key_listed_twice_is_taken_twice_and_loaded_once(tiers: Tiers) -> None:
    tiers.fill(2)
    with tiers.prefetch(["0", "1", "0", "0"]) as fetched:
        first = fetched.take("0")
        assert fetched.take("0") is fetched.take("0") is first is tiers.below["0"]
        assert fetched.take("1") is tiers.below["1"]
        assert fetched.bytes == 0
        assert fetched.take("0") is first
    assert sorted(tiers.loaded) == ["0", "1"]
    assert tiers.got == ["0"], "the fourth was not announced"


def test_what_is_not_there_or_fails_is_a_miss(
    tiers: Tiers, caplog: pytest.LogCaptureFixture
) -> None:
    tiers.fill(1)
    with tiers.prefetch(["missing", "bad", "0"]) as fetched:
        assert fetched.take("missing") is None
        assert fetched.take("bad") is None
        assert fetched.take("0") is not None
    assert (tiers.got, tiers.counted) == ([], [False] * 3)
    assert [record.message for record in caplog.records] == [
        "could not load entry bad; it is a miss"
    ]


def test_what_was_not_announced_is_looked_up(tiers: Tiers) -> None:
    tiers.fill(2)
    with tiers.prefetch([]) as nothing, tiers.prefetch(["0"]) as fetched:
        assert nothing.take("1") is fetched.take("1") is tiers.below["1"]
    assert tiers.got == ["1", "1"]


def test_a_taker_who_skips_many_is_caught_up_with(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "AHEAD_ENTRIES", 10)
    keys = tiers.fill(100)
    with tiers.prefetch(keys) as fetched:
        tiers.settle()
        assert fetched.take(keys[50]) is tiers.below[keys[50]]
        tiers.settle()
        assert sorted(tiers.loaded, key=int) == keys[:10] + keys[51:61]
        for key in keys[51:]:
            assert fetched.take(key) is tiers.below[key]
        assert fetched.take(keys[3]) is tiers.below[keys[3]]
        assert fetched.bytes == 0
    assert tiers.got == [keys[50], keys[3]]


def test_close_ends_it_in_the_middle(tiers: Tiers) -> None:
    tiers.door.clear()
    keys = tiers.fill(50)
    fetched = tiers.prefetch(keys)
    tiers.settle()
    fetched.close()
    tiers.door.set()
    tiers.settle()
    assert sorted(tiers.loaded) == keys[:THREADS]
    assert fetched.bytes == 0
    assert fetched.take(keys[0]) is tiers.below[keys[0]], "it is looked up"
    assert tiers.got == [keys[0]]


def test_what_waits_for_a_thread_when_it_is_closed_is_never_loaded(tiers: Tiers) -> None:
    tiers.door.clear()
    keys = tiers.fill(8)
    busy = [tiers.pool.submit(tiers.load, "x") for _ in range(2 * THREADS)]
    tiers.prefetch(keys).close()
    tiers.door.set()
    assert [future.result(WAIT) for future in busy] == [None] * len(busy)
    tiers.settle()
    assert set(tiers.loaded) == {"x"}


def test_close_leaves_no_taker_waiting(tiers: Tiers) -> None:
    tiers.door.clear()
    keys = tiers.fill(8)
    for _ in range(2 * THREADS):
        tiers.pool.submit(tiers.load, "x")
    fetched = tiers.prefetch([keys[0], *keys])
    got: list[FeatureEntry | None] = []
    shared = threading.Thread(target=lambda: got.append(fetched.take(keys[0])))
    alone = threading.Thread(target=lambda: got.append(fetched.take(keys[1])))
    for taker in (shared, alone):
        taker.start()
    shared.join(0.05)
    assert shared.is_alive()
    fetched.close()
    shared.join(WAIT)
    assert tiers.got == [keys[0]], "the load it shared with a later taker is cancelled"
    tiers.door.set()
    alone.join(WAIT)
    assert got == [tiers.below[keys[0]], tiers.below[keys[1]]]


def test_a_pool_that_ends_ends_it(tiers: Tiers) -> None:
    keys = tiers.fill(50)
    tiers.pool.shutdown()
    with tiers.prefetch(keys) as fetched:
        assert fetched.take(keys[5]) is tiers.below[keys[5]]
    assert tiers.got == [keys[5]]


def test_threads_may_take_from_one_list(tiers: Tiers) -> None:
    keys = [key for key in tiers.fill(200) for _ in range(2)]
    wrong: list[str] = []
    with tiers.prefetch(keys) as fetched:

        def take() -> None:
            for key in keys[::2]:
                if fetched.take(key) is not tiers.below[key]:
                    wrong.append(key)

        threads = [threading.Thread(target=take) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert not any(thread.is_alive() for thread in threads)
        assert fetched.bytes == 0
    assert not wrong


EXIT = """
import time
from concurrent.futures import ThreadPoolExecutor
from minireranker.cache.prefetch import Lookup, Prefetch

def load(key):
    time.sleep(0.1)
    print(key, flush=True)

lookup = Lookup(lambda key: None, load, load, bool)
Prefetch(map(str, range(100)), lookup, ThreadPoolExecutor(4)).take("0")
"""


def test_a_program_that_ends_does_not_wait_for_it() -> None:
    run = subprocess.run(
        [sys.executable, "-P", "-c", EXIT], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert len(run.stdout.split()) <= 3 * THREADS


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_entries_arrive_on_the_gpu_bit_for_bit(tmp_path: Path) -> None:
    space = Namespace({"weights": "w"})
    made = {space.key({"n": n}): entry(n, 2**20 + n) for n in range(40)}
    with Cache(tmp_path, memory_bytes=2**22) as cache:
        for key, item in made.items():
            cache.put(key, FeatureEntry(item.merged.cuda(), ()))
        cache.flush()
        cache.memory.clear()
        busy = torch.randn(4096, 4096, device="cuda")
        with cache.prefetch(list(made), FeatureEntry, "cuda") as fetched:
            for key, item in made.items():
                found = fetched.take(key)
                busy = busy @ busy / 64
                assert found is not None
                found = ready(found, found.merged.device)
                assert found.merged.is_cuda
                assert torch.equal(found.merged.cpu(), item.merged)
        assert cache.stats.disk is not None
        assert cache.stats.disk.hits == len(made)
