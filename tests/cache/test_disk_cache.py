"""A cache folder: what outlives the one who put it there, what stays, and what has to go."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from minireranker.cache.disk import DEFAULT_DISK_BYTES, DiskCache
from minireranker.cache.entry import FeatureEntry, PrefixEntry
from minireranker.cache.format import dump
from minireranker.cache.key import Namespace

SPACE = Namespace({"model": "m"}, label="the label")
KEYS = [SPACE.key({"n": n}) for n in range(60)]
RED, BLUE = (Namespace({"model": "m"}, tenant) for tenant in ("red", "blue"))
REDS, BLUES = ([space.key({"n": n}) for n in range(60)] for space in (RED, BLUE))
NOW = 1_700_000_000.5


def entry(key: str = "", kib: int = 1) -> FeatureEntry:
    """So many KiB that follow from the key."""
    data = (key.encode() * 1024 * kib)[: 1024 * kib] or bytes(1024 * kib)
    return FeatureEntry(torch.frombuffer(bytearray(data), dtype=torch.uint8).view(kib, 1024), ())


SIZE = len(dump(KEYS[0], entry(), NOW))
"""Bytes of a file of one KiB; the time it was made is always as long."""


def put(cache: DiskCache, *keys: str) -> bool:
    kept = [cache.put(key, entry(key), NOW) for key in keys]
    return all(kept)


def reads(cache: DiskCache, key: str) -> bool:
    """Whether ``key`` is there, right to the bit."""
    found = cache.get(key, FeatureEntry)
    return found is not None and torch.equal(found.entry.merged, entry(key).merged)


def held(cache: DiskCache, keys: Iterable[str]) -> list[int]:
    """Which of the keys are there, by number."""
    return [n for n, key in enumerate(keys) if key in cache]


def files(path: Path) -> list[Path]:
    return [item for part in ("entries", "tmp") for item in (path / part).rglob("*.*")]


def size_of(path: Path) -> int:
    return sum(item.stat().st_size for item in files(path))


def test_an_entry_outlives_who_put_it(tmp_path: Path) -> None:
    with DiskCache(tmp_path / "a" / "b") as cache:
        assert cache.get(KEYS[0], FeatureEntry) is None
        assert cache.put(KEYS[0], entry(KEYS[0]), NOW)
        assert cache.max_bytes == DEFAULT_DISK_BYTES
    with DiskCache(tmp_path / "a" / "b") as cache:
        found = cache.get(KEYS[0], FeatureEntry)
        assert found is not None
        assert (found.created, found.key) == (NOW, KEYS[0])
        assert torch.equal(found.entry.merged, entry(KEYS[0]).merged)
        assert KEYS[0] in cache
        assert KEYS[1] not in cache
        assert not cache.read_only
        assert (cache.stats.hits, cache.stats.misses, cache.stats.entries) == (1, 0, 1)
        assert cache.stats.bytes == size_of(cache.path) == SIZE


def test_created_is_now_unless_it_is_said(tmp_path: Path) -> None:
    with DiskCache(tmp_path) as cache:
        before = time.time()
        assert cache.put(KEYS[0], entry())
        found = cache.get(KEYS[0], FeatureEntry)
        assert found is not None
        assert before <= found.created <= time.time()
        assert [info.created for info in cache.entries()] == [found.created]


def test_what_a_reader_changes_nobody_sees(tmp_path: Path) -> None:
    large = FeatureEntry(torch.ones(300, 1024, dtype=torch.uint8), ())  # mapped, not read
    with DiskCache(tmp_path) as cache:
        assert cache.put(KEYS[0], large)
        found = cache.get(KEYS[0], FeatureEntry)
        assert found is not None
        found.entry.merged.zero_()
        again = cache.get(KEYS[0], FeatureEntry)
        assert again is not None
        assert again.entry.merged.all()
        assert cache.delete([KEYS[0]]) == 1
    assert again.entry.merged.all(), "its bytes stay, though the file is gone and the cache closed"


def test_entries_that_are_held_take_no_file_descriptors(tmp_path: Path) -> None:
    large = FeatureEntry(torch.ones(100, 1024, dtype=torch.uint8), ())
    with DiskCache(tmp_path) as cache:
        assert all(cache.put(key, large) for key in KEYS[:5])
        before = len(os.listdir("/proc/self/fd"))
        kept = [cache.get(key, FeatureEntry) for key in KEYS[:5] for _ in range(10)]
        assert None not in kept
        assert len(os.listdir("/proc/self/fd")) == before


def test_another_kind_is_a_miss_and_stays(tmp_path: Path) -> None:
    with DiskCache(tmp_path) as cache:
        assert put(cache, KEYS[0])
        assert cache.get(KEYS[0], PrefixEntry) is None
        assert reads(cache, KEYS[0])
        assert (cache.stats.hits, cache.stats.misses, cache.stats.errors) == (1, 1, 0)


def test_the_same_key_twice_is_kept_once_and_was_used(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=3 * SIZE) as cache:
        assert put(cache, *KEYS[:3])
        assert cache.put(KEYS[0], entry("another"), NOW + 1)
        assert reads(cache, KEYS[0]), "the first is as good"
        assert (cache.stats.entries, cache.stats.bytes) == (3, 3 * SIZE)
        assert put(cache, KEYS[3])
        assert held(cache, KEYS) == [0, 2, 3]


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=4 * SIZE) as cache:
        assert put(cache, *KEYS[:4])
        assert reads(cache, KEYS[1])
        assert reads(cache, KEYS[0])
        assert KEYS[2] in cache, "looking does not use it"
        assert put(cache, KEYS[4], KEYS[5])
        assert held(cache, KEYS) == [0, 1, 4, 5]
        assert put(cache, KEYS[6])
        assert held(cache, KEYS) == [0, 4, 5, 6]
        assert cache.stats.evictions == 3


def test_the_order_of_use_is_kept_for_the_next_one(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=3 * SIZE) as cache:
        assert put(cache, *KEYS[:3])
        assert reads(cache, KEYS[0])
    with DiskCache(tmp_path) as cache:
        assert [info.key for info in sorted(cache.entries(), key=lambda info: info.used)] == [
            KEYS[1],
            KEYS[2],
            KEYS[0],
        ]
        assert put(cache, KEYS[3])
        assert held(cache, KEYS) == [0, 2, 3]


def test_hits_are_written_down_in_batches(tmp_path: Path) -> None:
    def used(cache: DiskCache) -> int:
        return next(info.used for info in cache.entries() if info.key == KEYS[0])

    with DiskCache(tmp_path) as cache:
        assert put(cache, *KEYS)
        first = used(cache)
        assert reads(cache, KEYS[0])
        assert used(cache) == first
        cache.flush()
        assert first < (second := used(cache))
        assert put(cache, *REDS[:10])
        assert used(cache) == second
        assert all(reads(cache, key) for key in (*KEYS, *REDS[:10]))  # more than one batch
        assert used(cache) > second


def test_pinned_entries_stay_and_where_all_are_pinned_nothing_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with DiskCache(tmp_path, max_bytes=3 * SIZE) as cache:
        assert put(cache, *KEYS[:3])
        assert cache.pin([KEYS[0], KEYS[0], KEYS[9]]) == 2
        assert put(cache, *KEYS[3:6])
        assert held(cache, KEYS) == [0, 4, 5]
        assert [info.key for info in cache.entries() if info.pinned] == [KEYS[0]]
        assert cache.pin([KEYS[4], KEYS[5]]) == 2
        assert not put(cache, KEYS[6])
        assert not put(cache, KEYS[7])
        assert held(cache, KEYS) == [0, 4, 5]
        assert len(caplog.records) == 1, "said once"
        assert "no room" in caplog.text
        assert cache.unpin(KEYS) == 3
        assert put(cache, KEYS[6])
        assert held(cache, KEYS) == [4, 5, 6]
        assert cache.stats.errors == 0
        assert cache.pin([KEYS[4]]) == 1
        assert cache.delete([KEYS[4]]) == 1, "pinned or not"


def test_an_entry_without_room_evicts_nothing(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=4 * SIZE) as cache:
        assert put(cache, *KEYS[:4])
        assert not cache.put(KEYS[4], entry(kib=8))
        cache.pin(KEYS[:2])
        assert not cache.put(KEYS[4], entry(kib=3))
        assert held(cache, KEYS) == [0, 1, 2, 3]
        assert cache.stats.evictions == 0


def test_one_large_entry_takes_the_room_of_many(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=60 * SIZE) as cache:
        assert put(cache, *KEYS)
        assert cache.put(REDS[0], entry(kib=50), NOW)
        assert size_of(tmp_path) <= 60 * SIZE
        assert cache.stats.bytes == size_of(tmp_path)
        assert held(cache, KEYS) == list(range(60 - len(held(cache, KEYS)), 60))
        assert len(held(cache, KEYS)) >= 9


def test_a_budget_is_kept_for_all_who_open_the_folder(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=40 * SIZE) as first:
        assert put(first, *KEYS[:40])
        with DiskCache(tmp_path) as second:
            assert second.max_bytes == 40 * SIZE
        with DiskCache(tmp_path, max_bytes=3 * SIZE) as second:
            assert held(second, KEYS) == [37, 38, 39]
            assert first.max_bytes == 3 * SIZE
            assert put(first, KEYS[40])
            assert held(first, KEYS) == [38, 39, 40]
    with DiskCache(tmp_path) as cache:
        assert cache.max_bytes == 3 * SIZE


def test_a_budget_of_nothing_keeps_nothing(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=0) as cache:
        assert not put(cache, KEYS[0])
        assert files(tmp_path) == []
