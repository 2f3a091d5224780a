"""What is pulled from under a running process: its folder, index and clock; and fifty threads."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minireranker.cache.disk import DiskCache
from minireranker.cache.entry import FeatureEntry
from minireranker.cache.key import Namespace
from minireranker.cache.verify import verify

SPACE = Namespace({"model": "m"}, label="m")
KEYS = [SPACE.key({"n": n}) for n in range(100)]
YEAR = 365 * 86400.0


def entry(key: str) -> FeatureEntry:
    data = hashlib.shake_256(key.encode()).digest(2**13)
    return FeatureEntry(torch.frombuffer(bytearray(data), dtype=torch.uint8).view(8, 1024), ())


def reads(cache: DiskCache, key: str) -> bool:
    """Whether ``key`` is there, right to the bit."""
    found = cache.get(key, FeatureEntry)
    return found is not None and torch.equal(found.entry.merged, entry(key).merged)


def put(cache: DiskCache, *keys: str) -> bool:
    return all(cache.put(key, entry(key)) for key in keys)


def recovers(cache: DiskCache, key: str) -> bool:
    """Whether ``key`` can be put and read, at the latest at the third attempt."""
    return any(put(cache, key) for _ in range(3)) and reads(cache, key)


def check_whole(path: Path, *keys: str) -> None:
    """Whoever opens the folder next finds all of ``keys``, and after verify nothing amiss."""
    with DiskCache(path) as cache:
        assert all(reads(cache, key) for key in keys)
        verify(cache)
        assert verify(cache).problems == 0
        assert {info.key for info in cache.entries()} >= set(keys)
        files = list(path.glob("entries/*/*/*.safetensors"))
        sizes = sum(file.stat().st_size for file in files)
        assert (cache.stats.entries, cache.stats.bytes) == (len(files), sizes)


def delete_index(path: Path) -> None:
    for file in path.glob("index.sqlite3*"):
        file.unlink()


def delete_index_alone(path: Path) -> None:
    (path / "index.sqlite3").unlink()


def overwrite_index(path: Path) -> None:
    size = (path / "index.sqlite3").stat().st_size
    (path / "index.sqlite3").write_bytes(random.Random(0).randbytes(size))


def overwrite_index_and_log(path: Path) -> None:
    for name in ("index.sqlite3", "index.sqlite3-wal"):
        size = (path / name).stat().st_size
        (path / name).write_bytes(random.Random(0).randbytes(size))


def truncate_index(path: Path) -> None:
    os.truncate(path / "index.sqlite3", 0)


def replace_index_by_a_folder(path: Path) -> None:
    delete_index(path)
    (path / "index.sqlite3").mkdir()


UPHEAVALS = [
    delete_index,
    delete_index_alone,
    overwrite_index,
    overwrite_index_and_log,
    truncate_index,
]


@pytest.mark.parametrize("upheaval", UPHEAVALS)
def test_an_index_ruined_under_a_running_process(
    tmp_path: Path, upheaval: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    with DiskCache(tmp_path / "c", max_bytes=2**24) as cache:
        cache.register(SPACE)
        assert put(cache, *KEYS[:5])
        upheaval(cache.path)
        assert all(reads(cache, key) for key in KEYS[:5])
        cache.put(KEYS[5], entry(KEYS[5]))
        cache.flush()
        assert cache.delete(KEYS[:1]) in (0, 1)
        assert KEYS[0] not in cache
        cache.pin(KEYS[1:2])
        assert recovers(cache, KEYS[6])
        assert recovers(cache, KEYS[0])
        assert all(reads(cache, key) for key in KEYS[1:5])
    check_whole(tmp_path / "c", *KEYS[:5], KEYS[6])
    healed = upheaval in (overwrite_index, truncate_index)  # all of it was still in the log
    assert healed or any(record.levelno >= logging.WARNING for record in caplog.records)


@pytest.mark.parametrize("upheaval", [*UPHEAVALS[:3], truncate_index, replace_index_by_a_folder])
def test_an_index_ruined_while_nobody_looked(
    tmp_path: Path, upheaval: Callable[[Path], None]
) -> None:
    with DiskCache(tmp_path / "c", max_bytes=2**24) as cache:
        assert put(cache, *KEYS[:5])
    upheaval(tmp_path / "c")
    with DiskCache(tmp_path / "c") as cache:
        assert all(reads(cache, key) for key in KEYS[:5])
        assert recovers(cache, KEYS[6])
        assert cache.stats.entries == 6
    check_whole(tmp_path / "c", *KEYS[:5], KEYS[6])


def test_the_budget_holds_after_the_index_was_lost(tmp_path: Path) -> None:
    with DiskCache(tmp_path / "c", max_bytes=2**17) as cache:
        assert put(cache, *KEYS[:30])
        delete_index(cache.path)
        for key in KEYS[30:60]:
            cache.put(key, entry(key))
        assert size_of(cache.path) <= 2**17
        assert recovers(cache, KEYS[99])


def size_of(path: Path) -> int:
    files = [file for part in ("entries", "tmp") for file in (path / part).rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file())


@pytest.mark.parametrize("part", ["", "entries", "tmp"])
def test_a_folder_deleted_under_a_running_process(tmp_path: Path, part: str) -> None:
    with DiskCache(tmp_path / "c", max_bytes=2**24) as cache:
        assert put(cache, *KEYS[:5])
        shutil.rmtree(cache.path / part)
        assert all(reads(cache, key) == (part == "tmp") for key in KEYS[:5])
        cache.put(KEYS[5], entry(KEYS[5]))
        cache.flush()
        cache.delete(KEYS[:1])
        cache.drop(SPACE.name)
        assert recovers(cache, KEYS[6])
        assert recovers(cache, KEYS[1])
    check_whole(tmp_path / "c", KEYS[6], KEYS[1])


def test_a_clock_that_goes_backwards(tmp_path: Path) -> None:
    now = time.time()
    with DiskCache(tmp_path / "c", max_bytes=2**24, ttl=YEAR / 2) as cache:
        for key, created in zip(KEYS, (now + YEAR, now, now - 1), strict=False):
            assert cache.put(key, entry(key), created)
            assert reads(cache, key)
            assert key in cache
        assert cache.put(KEYS[3], entry(KEYS[3]), now - YEAR)
        assert cache.get(KEYS[3], FeatureEntry) is None
        assert cache.prune(older_than=YEAR / 4) in (0, 1)
        assert all(reads(cache, key) for key in KEYS[:3])
        assert verify(cache).problems == 0


def test_the_order_of_use_follows_no_clock(tmp_path: Path) -> None:
    now = time.time()
    with DiskCache(tmp_path / "c", max_bytes=5 * 2**13) as cache:
        for age, key in enumerate(KEYS[:4]):  # each claims to be older than the one before
            assert cache.put(key, entry(key), now - age * YEAR)
        assert reads(cache, KEYS[0])
        cache.flush()
        assert put(cache, KEYS[4])
        assert [key in cache for key in KEYS[:5]] == [True, False, True, True, True]


def test_what_a_dead_writer_left_goes_and_a_living_one_keeps_its_own(tmp_path: Path) -> None:
    with DiskCache(tmp_path / "c", max_bytes=2**24) as cache:
        assert put(cache, *KEYS[:2])
        (cache.path / "tmp").mkdir(exist_ok=True)
        dead, living = (cache.path / "tmp" / f"{name}.part" for name in ("dead", "living"))
        dead.write_bytes(bytes(1000))
        with living.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(bytes(1000))
            assert verify(cache, repair=False).temporary == 1
            assert dead.exists()
            assert verify(cache).temporary == 1
            assert (dead.exists(), living.exists()) == (False, True)
        assert verify(cache).temporary == 1
        assert not living.exists()
        assert all(reads(cache, key) for key in KEYS[:2])


def test_fifty_threads_share_one(tmp_path: Path) -> None:
    wrong: list[str] = []
    start = threading.Barrier(50)

    def hammer(worker: int, cache: DiskCache) -> None:
        draw = random.Random(worker)
        start.wait()
        for _ in range(20):
            key, roll = draw.choice(KEYS), draw.random()
            try:
                if roll < 0.45:
                    cache.put(key, entry(key))
                elif roll < 0.9:
                    if cache.get(key, FeatureEntry) is not None and not reads_or_gone(cache, key):
                        wrong.append(key)
                elif roll < 0.95:
                    cache.delete([key])
                else:
                    cache.pin([key])
                    cache.unpin([key])
            except Exception as error:
                wrong.append(repr(error))

    with DiskCache(tmp_path / "c", max_bytes=40 * 2**13) as cache:
        threads = [threading.Thread(target=hammer, args=(n, cache)) for n in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert cache.stats.errors == 0
        assert size_of(cache.path) <= cache.max_bytes
        assert cache.stats.bytes == size_of(cache.path)
        assert verify(cache).problems == 0
        assert cache.stats.hits > 50
        assert cache.stats.evictions > 50


def reads_or_gone(cache: DiskCache, key: str) -> bool:
    found = cache.get(key, FeatureEntry)
    return found is None or torch.equal(found.entry.merged, entry(key).merged)
