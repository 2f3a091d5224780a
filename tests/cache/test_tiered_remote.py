"""The cache before a shared store: what is on its way between the tiers, and what goes wrong."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from minireranker.cache import (
    Cache,
    FeatureEntry,
    Namespace,
    TierStats,
)
from minireranker.cache.format import dump
from minireranker.cache.storage import Storage

SPACE, OTHER = Namespace({"weights": "w"}, "tenant", "label"), Namespace({"weights": "x"})
KEYS = [SPACE.key({"document": number}) for number in range(40)]
A, B, C = KEYS[:3]
THEIRS = OTHER.key({"document": 0})
WAIT = 10


def entry(key: str, size: int = 1000) -> FeatureEntry:
    """What belongs under ``key``, so many bytes."""
    return FeatureEntry(torch.full((size,), int(key[-4:], 16) % 251, dtype=torch.uint8), ())


def is_right(key: str, found: FeatureEntry | None) -> bool:
    return found is not None and torch.equal(found.merged, entry(key, found.nbytes).merged)


class Gated(MemoryFileSystem):
    """A store whose doors can be closed: whoever writes, reads or deletes waits for his."""

    protocol = "gated"
    cachable = False

    def __init__(self, doors: dict[str, threading.Event], knocked: threading.Semaphore) -> None:
        super().__init__()
        self.doors, self.knocked = doors, knocked

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        self.wait("write")
        super().pipe_file(path, value, **options)

    def cat_file(self, path: str, *args: Any, **options: Any) -> Any:
        data = super().cat_file(path, *args, **options)
        self.wait("read")
        return data

    def rm_file(self, path: str) -> None:
        self.wait("delete")
        super()._rm(path)

    def wait(self, door: str) -> None:
        self.knocked.release()
        assert self.doors[door].wait(WAIT)


class Unreachable(AbstractFileSystem):
    """A store whose network is down."""

    protocol = "gone"
    cachable = False

    def fail(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError("the network is down")

    cat_file = pipe_file = exists = rm_file = find = makedirs = fail


fsspec.register_implementation("gated", Gated, clobber=True)
fsspec.register_implementation("gone", Unreachable, clobber=True)

Make = Callable[..., Cache]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Caches on folders of this test: ``make("a", remote=...)``."""
    made: list[Cache] = []

    def cache(name: str | None = "a", **options: Any) -> Cache:
        made.append(Cache(None if name is None else tmp_path / name, **options))
        return made[-1]

    yield cache
    for one in made:
        one.close()


@pytest.fixture
def doors() -> Iterator[dict[str, threading.Event]]:
    made = {name: threading.Event() for name in ("write", "read", "delete")}
    for door in made.values():
        door.set()
    yield made
    for door in made.values():
        door.set()


@pytest.fixture
def shared(tmp_path: Path) -> dict[str, Any]:
    """A store for all caches of the test."""
    return {"remote": f"memory://{tmp_path}"}


@pytest.fixture
def gated(tmp_path: Path, doors: dict[str, threading.Event]) -> dict[str, Any]:
    """The same behind doors; its semaphore counts who has knocked."""
    options = {"doors": doors, "knocked": threading.Semaphore(0)}
    return {"remote": f"gated://{tmp_path}", "remote_options": options}


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def counts(stats: TierStats | None) -> tuple[int, int, int]:
    assert stats is not None
    return stats.hits, stats.misses, stats.errors


def test_what_waits_to_be_written_is_found(
    make: Make, gated: dict[str, Any], doors: dict[str, threading.Event]
) -> None:
    doors["write"].clear()
    cache = make(memory_bytes=0, **gated)
    cache.put(A, entry(A))
    cache.put(B, entry(B))
    assert A not in cache.memory
    assert B in cache
    assert is_right(B, cache.get(B, FeatureEntry))
    assert is_right(B, cache.peek(B, FeatureEntry))
    with cache.prefetch([B], FeatureEntry) as fetched:
        assert is_right(B, fetched.take(B))
    assert (counts(cache.stats.memory), counts(cache.stats.disk)) == ((2, 0, 0), (0, 0, 0))
    flush = started(cache.flush)
    flush.join(0.05)
    assert flush.is_alive(), "the store has not taken them yet"
    doors["write"].set()
    flush.join(WAIT)
    assert A in cache.disk
    assert A in cache.remote
    assert cache.peek(B, FeatureEntry) is None


def test_what_was_deleted_while_it_waited_does_not_come_back(
    make: Make, gated: dict[str, Any], doors: dict[str, threading.Event]
) -> None:
    doors["write"].clear()
    cache = make(**gated)
    for key in (A, B, C, THEIRS):
        cache.put(key, entry(key))
    assert gated["remote_options"]["knocked"].acquire(timeout=WAIT)  # A is being written
    assert cache.delete([B]) == 1
    assert cache.drop(OTHER.name) == 1
    deletion = started(lambda: cache.delete([A]))
    deletion.join(0.05)
    assert deletion.is_alive(), "it waits for the writer"
    doors["write"].set()
    deletion.join(WAIT)
    cache.flush()
    for key in (A, B, THEIRS):
        assert key not in cache
        assert cache.get(key, FeatureEntry) is None
    assert list(cache.remote.keys()) == [C]


def test_what_was_deleted_while_it_was_fetched_does_not_come_back(
    make: Make, gated: dict[str, Any], doors: dict[str, threading.Event]
) -> None:
    fill_store(make, gated, [A, B])
    cache = make("b", **gated)
    knocked = gated["remote_options"]["knocked"]
    while knocked.acquire(blocking=False):
        pass
    doors["read"].clear()
    early = started(lambda: cache.get(A, FeatureEntry))
    assert knocked.acquire(timeout=WAIT)
    deletion = started(lambda: cache.delete([A]))
    deletion.join(0.05)
    assert deletion.is_alive(), "it waits for the reader"
    doors["read"].set()
    early.join(WAIT)
    deletion.join(WAIT)
    assert A not in cache
    assert cache.get(A, FeatureEntry) is None

    doors["delete"].clear()
    while knocked.acquire(blocking=False):
        pass
    deletion = started(lambda: cache.drop(SPACE.name))
    assert knocked.acquire(timeout=WAIT)
    assert is_right(B, cache.get(B, FeatureEntry)), "it is still there"
    doors["delete"].set()
    deletion.join(WAIT)
    assert B not in cache, "but it was not kept"
    assert cache.get(B, FeatureEntry) is None


def test_delete_counts_an_entry_once_wherever_it_is(make: Make, shared: dict[str, Any]) -> None:
    cache = make(**shared)
    for key in KEYS[:4]:
        cache.put(key, entry(key))
    cache.put(KEYS[4], entry(KEYS[4]), durable=False)
    cache.put(THEIRS, entry(THEIRS))
    cache.flush()
    cache.memory.delete([A])
    assert cache.delete([A, B, KEYS[20]]) == 2
    assert cache.drop(SPACE.name) == 3
    assert [key in cache for key in (*KEYS[:5], THEIRS)] == [False] * 5 + [True]
    assert list(cache.remote.keys()) == [THEIRS]


def fill_store(make: Make, store: dict[str, Any], keys: list[str]) -> Cache:
    """Have entries in the store, by way of another machine; its cache."""
    cache = make("filler", **store)
    for key in keys:
        cache.put(key, entry(key))
    cache.flush()
    return cache


def test_an_entry_of_the_store_is_read_once_and_then_from_disk(
    make: Make, shared: dict[str, Any]
) -> None:
    source = fill_store(make, shared, [A])
    cache = make(**shared)
    assert A not in cache
    assert is_right(A, cache.get(A, FeatureEntry))
    assert cache.disk.read_bytes(A) == source.disk.read_bytes(A) == cache.remote.get(A)
    assert counts(cache.stats.disk) == (0, 1, 0)
    assert counts(cache.stats.remote) == (2, 0, 0), "one of them was ours"
    cache.memory.clear()
    assert is_right(A, cache.get(A, FeatureEntry))
    assert counts(cache.stats.disk) == (1, 1, 0)
    assert cache.get(B, FeatureEntry) is None
    assert counts(cache.stats.remote) == (2, 1, 0)


def test_what_the_store_has_is_not_sent_again(make: Make, gated: dict[str, Any]) -> None:
    cache, knocked = make(**gated), gated["remote_options"]["knocked"]
    for sent in (True, False):
        cache.put(A, entry(A))
        cache.flush()
        assert knocked.acquire(blocking=False) == sent


def test_what_is_being_deleted_is_read_past_the_disk(make: Make, shared: dict[str, Any]) -> None:
    fill_store(make, shared, [A])
    cache = make(**shared)
    storage = Storage(cache.disk, cache.remote, None)
    for keep in (False, True):
        found = storage.read(A, FeatureEntry, keep=keep)
        assert found is not None
        assert is_right(A, found.entry)
        assert (A in cache.disk) == keep


def test_a_disk_that_refuses_does_not_stand_in_the_way(make: Make, shared: dict[str, Any]) -> None:
    source = make("source", disk_bytes=1, **shared)
    source.put(A, entry(A))
    source.flush()
    assert A not in source.disk
    cache = make(disk_bytes=1, **shared)
    assert is_right(A, cache.get(A, FeatureEntry))
    assert A not in cache.disk
    assert A in cache.memory


def test_a_damaged_object_is_a_miss_and_is_replaced(
    make: Make, shared: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    source = fill_store(make, shared, [A])
    sound = source.remote.get(A)
    source.remote.put(A, sound[:-1] + bytes([sound[-1] ^ 1]))
    cache = make(**shared)
    assert cache.get(A, FeatureEntry) is None
    assert A not in cache
    assert counts(cache.stats.remote) == (0, 1, 1)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "CorruptEntryError" in record.message
    cache.put(A, entry(A))
    cache.flush()
    assert is_right(A, make("c", **shared).get(A, FeatureEntry))


def test_age_counts_from_when_the_file_was_made(make: Make, shared: dict[str, Any]) -> None:
    now, cache = time.time(), make(ttl=60, **shared)
    cache.disk.put(A, entry(A), now - 30)
    cache.remote.put(B, dump(B, entry(B), now - 40))
    cache.remote.put(C, dump(C, entry(C), now - 61))
    future = KEYS[3]
    cache.disk.put(future, entry(future), now + 1e6)
    assert is_right(A, cache.get(A, FeatureEntry))
    assert is_right(B, cache.get(B, FeatureEntry))
    assert is_right(future, cache.get(future, FeatureEntry)), "the clock has gone backwards"
    assert cache.get(C, FeatureEntry) is None
    assert counts(cache.stats.remote) == (1, 1, 0)
    assert cache.memory.put(A, entry(A)) == now - 30
    assert cache.memory.put(B, entry(B)) == now - 40
    cache.put(C, entry(C))
    cache.flush()
    assert is_right(C, make("c", ttl=60, **shared).get(C, FeatureEntry)), "the old one is replaced"


def test_a_store_that_is_gone_changes_nothing(make: Make) -> None:
    cache = make(remote="gone://x")
    cache.put(A, entry(A))
    cache.flush()
    cache.memory.clear()
    assert is_right(A, cache.get(A, FeatureEntry))
    assert cache.get(B, FeatureEntry) is None
    with cache.prefetch([A, B], FeatureEntry) as fetched:
        assert is_right(A, fetched.take(A))
        assert fetched.take(B) is None
    assert cache.delete([A]) == 1
    assert cache.drop(SPACE.name) == 0
    assert cache.stats.remote.errors > 0
