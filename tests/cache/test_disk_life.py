"""A cache folder over time: age, clocks, an index lost and found, threads and forks."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.cache.disk import DiskCache
from minireranker.cache.entry import FeatureEntry
from minireranker.cache.format import dump
from minireranker.cache.key import Namespace
from minireranker.errors import CacheError, ConfigurationError

SPACE, RED = Namespace({"model": "m"}), Namespace({"model": "m"}, "red")
KEYS = [SPACE.key({"n": n}) for n in range(60)]
NOW = 1_700_000_000.5
DAY = 86_400.0


def entry(key: str = "") -> FeatureEntry:
    """One KiB that follows from the key."""
    data = bytearray(key.encode() * 1024)[:1024] or bytearray(1024)
    return FeatureEntry(torch.frombuffer(data, dtype=torch.uint8).view(4, 256), ())


SIZE = len(dump(KEYS[0], entry(), NOW))
"""Bytes of a file; the time it was made is always as long."""


def put(cache: DiskCache, *keys: str, created: float = NOW) -> bool:
    kept = [cache.put(key, entry(key), created) for key in keys]
    return all(kept)


def reads(cache: DiskCache, key: str) -> bool:
    """Whether ``key`` is there, right to the bit."""
    found = cache.get(key, FeatureEntry)
    return found is not None and torch.equal(found.entry.merged, entry(key).merged)


def held(cache: DiskCache, keys: Iterable[str] = KEYS) -> list[int]:
    """Which of the keys are there, by number."""
    return [n for n, key in enumerate(keys) if key in cache]


def files(path: Path) -> list[Path]:
    return [item for part in ("entries", "tmp") for item in (path / part).rglob("*.*")]


def test_an_entry_too_old_is_a_miss_and_goes(tmp_path: Path) -> None:
    now = time.time()
    with DiskCache(tmp_path, ttl=DAY) as cache:
        assert put(cache, KEYS[0], created=now - DAY + 600)
        assert put(cache, *KEYS[1:4], created=now - DAY - 600)
        assert held(cache) == [0]
        assert reads(cache, KEYS[0])
        assert not reads(cache, KEYS[1])
        assert cache.read_bytes(KEYS[2]) is None
        assert len(files(tmp_path)) == 2
        assert put(cache, KEYS[1], KEYS[3], created=now), "also in place of an old one"
        assert held(cache) == [0, 1, 3]
        assert (cache.stats.entries, cache.stats.misses, cache.stats.errors) == (3, 1, 0)
    with DiskCache(tmp_path) as cache:
        assert put(cache, KEYS[5], created=1.0)
        assert reads(cache, KEYS[5]), "without a ttl entries do not age"


def test_a_pinned_entry_ages_too(tmp_path: Path) -> None:
    with DiskCache(tmp_path, ttl=DAY) as cache:
        assert put(cache, KEYS[0], created=time.time() - 2 * DAY)
        assert cache.pin(KEYS[:1]) == 1
        assert not reads(cache, KEYS[0])


def test_pruning_takes_the_old_and_then_the_least_used(tmp_path: Path) -> None:
    now = time.time()
    with DiskCache(tmp_path) as cache:
        for age, key in enumerate(KEYS[:8]):
            assert put(cache, key, created=float(round(now)) + 0.5 - age * DAY)
        assert cache.prune() == 0
        cache.pin([KEYS[7], KEYS[1]])
        assert cache.prune(older_than=5.5 * DAY) == 1
        assert held(cache) == [0, 1, 2, 3, 4, 5, 7]
        assert reads(cache, KEYS[0])
        size = cache.stats.bytes or 0
        assert cache.prune(max_bytes=size - 1) == 1
        assert held(cache) == [0, 1, 3, 4, 5, 7]
        assert cache.prune(max_bytes=0, older_than=10 * DAY) == 4
        assert held(cache) == [1, 7]
        assert cache.stats.evictions == 6
    with DiskCache(tmp_path, ttl=2 * DAY) as cache:
        cache.unpin(KEYS)
        assert cache.prune() == 1
        assert held(cache) == [1]


def test_a_clock_set_back_changes_no_order_and_loses_nothing(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=3 * SIZE, ttl=DAY) as cache:
        for year, key in enumerate(reversed(KEYS[:3])):
            assert put(cache, key, created=round(time.time()) + 0.5 + (3 - year) * 365 * DAY)
        assert all(reads(cache, key) for key in KEYS[:3])  # 0 1 2
        assert put(cache, KEYS[3], created=round(time.time()) + 0.5)
        assert held(cache) == [1, 2, 3]


def spoil(path: Path) -> None:
    (path / "index.sqlite3").write_bytes(b"not a database at all, and long enough" * 1000)


def spoil_within(path: Path) -> None:
    """The first page stays, and with it all that SQLite looks at when it opens a file."""
    data = bytearray((path / "index.sqlite3").read_bytes())
    data[4096:] = b"\xa5" * len(data[4096:])
    (path / "index.sqlite3").write_bytes(data)


def remove(path: Path) -> None:
    (path / "index.sqlite3").unlink()


@pytest.mark.parametrize("ruin", [spoil, spoil_within, remove])
def test_a_lost_index_is_filled_from_the_files(tmp_path: Path, ruin: Any) -> None:
    with DiskCache(tmp_path, max_bytes=20 * SIZE) as cache:
        cache.register(RED)
        for at, key in enumerate(reversed(KEYS[:10])):
            assert put(cache, key, created=NOW + at)
        before = {info.key: (info.bytes, round(info.created, 3)) for info in cache.entries()}
    ruin(tmp_path)
    with DiskCache(tmp_path, max_bytes=10 * SIZE) as cache:
        assert not cache.database.rebuilt
        after = {info.key: (info.bytes, round(info.created, 3)) for info in cache.entries()}
        assert after == before
        assert reads(cache, KEYS[9])
        assert put(cache, KEYS[20], KEYS[21])
        assert held(cache) == [*range(7), 9, 20, 21], "the oldest went, as least used"
        assert all(reads(cache, key) for key in KEYS[:7])
        assert (cache.stats.entries, cache.stats.bytes) == (10, 10 * SIZE)
    asides = list(tmp_path.glob("index.sqlite3.corrupt-1"))
    assert len(asides) == (ruin is not remove)


def test_what_was_malformed_is_kept_aside_each_time(tmp_path: Path) -> None:
    for _ in range(3):
        with DiskCache(tmp_path) as cache:
            assert put(cache, KEYS[0])
        spoil(tmp_path)
    names = {item.name for item in tmp_path.iterdir() if "corrupt" in item.name}
    assert names == {"index.sqlite3.corrupt-1", "index.sqlite3.corrupt-2"}


def test_an_index_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    with DiskCache(tmp_path) as cache:
        assert put(cache, KEYS[0])
    connection = sqlite3.connect(tmp_path / "index.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(CacheError, match=r"newer .*99.*upgrade"):
        DiskCache(tmp_path)
    assert not list(tmp_path.glob("*corrupt*"))


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "index.sqlite3")
    connection.execute("CREATE TABLE mine(a)")
    connection.close()
    with pytest.raises(CacheError, match="another program"):
        DiskCache(tmp_path)


@pytest.mark.parametrize("created", [float("inf"), float("-inf"), float("nan")])
def test_a_time_that_cannot_be_is_refused(tmp_path: Path, created: float) -> None:
    with DiskCache(tmp_path) as cache, pytest.raises(ConfigurationError, match="created = "):
        cache.put(KEYS[0], entry(), created)
    assert files(tmp_path) == []


def test_a_locked_index_costs_one_refusal(tmp_path: Path) -> None:
    with DiskCache(tmp_path) as cache:
        assert put(cache, KEYS[0])
        blocker = sqlite3.connect(tmp_path / "index.sqlite3", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        assert not put(cache, KEYS[1])
        assert reads(cache, KEYS[0])
        assert files(tmp_path / "tmp") == []
        blocker.execute("ROLLBACK")
        blocker.close()
        assert put(cache, KEYS[1])
        assert (cache.stats.errors, cache.stats.entries) == (1, 2)


def test_a_closed_cache_still_reads_and_takes_nothing(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    assert put(cache, KEYS[0])
    cache.close()
    cache.close()
    assert reads(cache, KEYS[0])
    assert not put(cache, KEYS[1])
    cache.flush()
    with pytest.raises(CacheError, match="closed"):
        cache.namespaces()


@pytest.mark.parametrize(
    "numbers",
    [
        {"max_bytes": -1},
        {"max_bytes": 1.5},
        {"max_bytes": True},
        {"ttl": 0.0},
        {"ttl": float("nan")},
        {"quotas": {"red": -1}},
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path: Path, numbers: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(numbers))[:5]}.* allowed is"):
        DiskCache(tmp_path / "c", **numbers)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("key", ["", "x", "../" * 30, KEYS[0] + "/..", KEYS[0].upper()])
def test_only_a_key_is_looked_for(tmp_path: Path, key: str) -> None:
    with DiskCache(tmp_path) as cache:
        for use in (
            lambda: cache.get(key, FeatureEntry),
            lambda: cache.put(key, entry()),
            lambda: cache.delete([key]),
            lambda: key in cache,
        ):
            with pytest.raises(ConfigurationError, match="no cache key"):
                use()
    assert files(tmp_path) == []


OPERATIONS = st.tuples(
    st.sampled_from(["put", "put", "get", "get", "delete", "pin", "unpin", "reopen"]),
    st.integers(0, 7),
)


@settings(max_examples=40, deadline=None)
@given(budget=st.integers(0, 5), operations=st.lists(OPERATIONS, max_size=40))
def test_it_is_a_list_in_order_of_use(
    tmp_path_factory: pytest.TempPathFactory, budget: int, operations: list[tuple[str, int]]
) -> None:
    path, order, pinned = tmp_path_factory.mktemp("c"), list[int](), set[int]()
    cache = DiskCache(path, max_bytes=budget * SIZE)
    for what, at in operations:
        if what == "put":
            victims = [n for n in order if n not in pinned]
            fits = at in order or len(order) < budget or bool(victims)
            if at not in order and len(order) == budget and victims:
                order.remove(victims[0])
            assert put(cache, KEYS[at]) == (fits and budget > 0)
            order = [n for n in order if n != at] + [at] * (fits and budget > 0)
        elif what == "get":
            assert reads(cache, KEYS[at]) == (at in order)
            order = [n for n in order if n != at] + [at] * (at in order)
        elif what == "delete":
            assert cache.delete([KEYS[at]]) == (at in order)
            order, pinned = [n for n in order if n != at], pinned - {at}
        elif what == "reopen":
            cache.close()
            cache = DiskCache(path)
        else:
            assert getattr(cache, what)([KEYS[at]]) == (at in order)
            pinned = pinned | {at} & set(order) if what == "pin" else pinned - {at}
        assert held(cache) == sorted(order)
        assert (cache.stats.entries, cache.stats.bytes) == (len(order), len(order) * SIZE)
    cache.close()


def test_many_threads_put_one_key_once(tmp_path: Path) -> None:
    with DiskCache(tmp_path) as cache:
        start, kept = threading.Barrier(8), list[bool]()

        def work() -> None:
            start.wait()
            kept.append(put(cache, KEYS[0]))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert kept == [True] * 8
        assert reads(cache, KEYS[0])
        assert (cache.stats.entries, len(files(tmp_path)), cache.stats.errors) == (1, 1, 0)


def in_child(work: Any, *args: Any) -> Any:
    """What ``work`` returns in a forked child, which inherits everything."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def run(pipe: Connection) -> None:
        torch.set_num_threads(1)
        pipe.send(work(*args))

    child = context.Process(target=run, args=(there,))
    child.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        return None
    finally:
        child.join()
        here.close()


def open_indexes(path: Path) -> int:
    """How often this process has the index open."""
    found = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
    return found.count(str(path / "index.sqlite3"))


FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@FORKS
def test_a_forked_child_goes_on_with_its_parents_cache(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=30 * SIZE) as cache:
        assert put(cache, *KEYS[:3])
        assert reads(cache, KEYS[0])

        def work() -> tuple[bool, bool, int, int]:
            kept = put(cache, *KEYS[10:20]), reads(cache, KEYS[0])
            return *kept, len(list(cache.entries())), open_indexes(tmp_path)

        opened = open_indexes(tmp_path)
        assert in_child(work) == (True, True, 13, 2 * opened), "with connections of its own"
        assert put(cache, *KEYS[3:5])
        assert held(cache) == [0, 1, 2, 3, 4, *range(10, 20)]
        assert cache.database.query("PRAGMA integrity_check") == [("ok",)]
        assert cache.stats.entries == 15


@FORKS
def test_a_writer_that_dies_holding_everything_holds_up_nobody(tmp_path: Path) -> None:
    with DiskCache(tmp_path) as cache:
        assert put(cache, KEYS[0])

        def work() -> None:
            with cache.database.transaction() as connection:
                connection.execute("DELETE FROM entries")
                os.kill(os.getpid(), signal.SIGKILL)

        assert in_child(work) is None
        assert put(cache, KEYS[1])
        assert cache.stats.entries == 2


def test_a_line_of_the_log_says_what_and_where(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with DiskCache(tmp_path, max_bytes=SIZE), caplog.at_level(logging.WARNING):
        pass
    spoil(tmp_path)
    with DiskCache(tmp_path):
        pass
    (record,) = caplog.records
    assert record.name.startswith("minireranker.cache")
    assert str(tmp_path / "index.sqlite3") in record.getMessage()


@pytest.mark.parametrize("content", ["sqlite", "garbage"])
def test_another_programs_folder_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    index = tmp_path / "index.sqlite3"
    if content == "sqlite":
        with contextlib.closing(sqlite3.connect(index)) as connection:
            connection.execute("CREATE TABLE theirs(x)")
    else:
        index.write_bytes(b"no database at all, but somebody's" * 100)
    before = index.read_bytes()
    with pytest.raises(CacheError, match=r"index\.sqlite3"):
        DiskCache(tmp_path)
    assert os.listdir(tmp_path) == ["index.sqlite3"]
    assert index.read_bytes() == before
