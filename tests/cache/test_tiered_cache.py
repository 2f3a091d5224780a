"""The tiers together: where entries are found and kept, and that what is deleted stays away."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from minireranker.cache import (
    Cache,
    CacheStats,
    Catalog,
    DocumentRow,
    FeatureEntry,
    Namespace,
    SuffixEntry,
    TierStats,
    tiered,
)
from minireranker.errors import CacheError, ConfigurationError, MissingDependencyError

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
def shared(tmp_path: Path) -> dict[str, Any]:
    """A store for all caches of the test."""
    return {"remote": f"memory://{tmp_path}"}


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def counts(stats: TierStats | None) -> tuple[int, int, int]:
    assert stats is not None
    return stats.hits, stats.misses, stats.errors


def test_memory_alone() -> None:
    with Cache() as cache:
        cache.put(A, entry(A))
        assert is_right(A, cache.get(A, FeatureEntry))
        assert cache.get(A, SuffixEntry) is cache.get(B, FeatureEntry) is None
        assert (A in cache, B in cache) == (True, False)
        cache.register(SPACE)
        cache.flush()
        held = TierStats(hits=1, misses=2, entries=1, bytes=1000)
        assert cache.stats == CacheStats(memory=held)
        cache.put(THEIRS, entry(THEIRS))
        assert cache.delete([A, B, A]) == 1
        assert cache.drop(SPACE.name) == 0
        assert cache.drop(OTHER.name) == 1
        assert THEIRS not in cache
    cache.close()


def test_what_is_put_outlives_the_process(make: Make) -> None:
    first = make()
    first.put(A, entry(A))
    first.put(B, entry(B), durable=False)
    assert is_right(A, first.get(A, FeatureEntry))
    first.close()
    second = make()
    assert (A in second, B in second) == (True, False)
    for _ in range(2):
        assert is_right(A, second.get(A, FeatureEntry))
    assert second.get(B, FeatureEntry) is None
    assert counts(second.stats.memory) == (1, 2, 0)
    assert counts(second.stats.disk) == (1, 1, 0)


def test_an_entry_that_was_not_durable_may_become_so(make: Make) -> None:
    cache = make()
    cache.put(A, entry(A), durable=False)
    cache.flush()
    assert A not in cache.disk
    cache.put(A, entry(A))
    cache.flush()
    assert A in cache.disk


def test_an_entry_is_given_on_the_device_asked_for(make: Make) -> None:
    cache = make(memory_bytes=0)
    cache.put(A, entry(A))
    cache.flush()
    found = cache.get(A, FeatureEntry, "meta")
    assert found is not None
    assert found.merged.device.type == "meta"
    with cache.prefetch([A], FeatureEntry, "meta") as fetched:
        taken = fetched.take(A)
    assert taken is not None
    assert taken.merged.device.type == "meta"
    assert is_right(A, cache.get(A, FeatureEntry, "cpu"))
    with Cache() as memory:
        memory.put(A, entry(A))
        for found in (
            memory.prefetch([A], FeatureEntry, "meta").take(A),
            memory.get(A, FeatureEntry, "meta"),
        ):
            assert found is not None
            assert found.merged.device.type == "meta"


def test_an_entry_larger_than_what_may_wait(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiered, "PENDING_BYTES", 100)
    cache = make()
    for key in KEYS[:5]:
        cache.put(key, entry(key))
    cache.flush()
    assert all(key in cache.disk for key in KEYS[:5])


def test_a_folder_that_may_only_be_read(shared: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        place = Path(folder) / "cache"
        with Cache(place) as writer:
            writer.put(A, entry(A))
            Catalog(writer.catalog_database, "space").add({"written": DocumentRow("d1", "{}")})
        with read_only(place), Cache(place) as alone, Cache(place, **shared) as cache:
            alone.put(B, entry(B))
            cache.put(B, entry(B))
            assert is_right(A, alone.get(A, FeatureEntry))
            cache.flush()
            assert B not in cache.disk
            assert B in cache.remote
            assert is_right(B, alone.get(B, FeatureEntry)), "from memory"
            catalog = Catalog(alone.catalog_database, "space")
            assert catalog.ids() == ["written"]
            catalog.add({"new": DocumentRow("d2", "{}")})
            assert catalog.ids() == ["written", "new"]


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Nobody may write in a folder, this process included, while inside."""
    items, user = [place, *place.rglob("*")], os.geteuid()
    for item in items:
        item.chmod(0o555 if item.is_dir() else 0o444)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for item in items:
            item.chmod(0o755)


def test_a_damaged_file_is_a_miss(make: Make) -> None:
    cache = make(memory_bytes=0)
    cache.put(A, entry(A))
    cache.flush()
    (path,) = cache.disk.path.rglob(f"{A}.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with cache.prefetch([A], FeatureEntry) as fetched:
        assert fetched.take(A) is None
    assert cache.get(A, FeatureEntry) is None
    cache.put(A, entry(A))
    cache.flush()
    assert is_right(A, cache.get(A, FeatureEntry))


def test_taking_counts_as_getting_does(make: Make) -> None:
    fill = make()
    for key in KEYS[:20]:
        fill.put(key, entry(key))
    fill.close()
    figures = []
    for prefetched in (True, False):
        cache = make()
        for key in KEYS[5:10]:
            cache.get(key, FeatureEntry)
        with cache.prefetch(KEYS[:30] if prefetched else [], FeatureEntry) as fetched:
            for key in KEYS[:30]:
                found = fetched.take(key) if prefetched else cache.get(key, FeatureEntry)
                assert is_right(key, found) == (key in KEYS[:20])
        figures.append((counts(cache.stats.memory), counts(cache.stats.disk)))
    assert figures[0] == figures[1] == ((5, 30, 0), (20, 10, 0))


def test_prefetching_what_is_in_memory_starts_no_thread_and_reads_nothing() -> None:
    before = threading.active_count()
    with Cache() as cache:
        for key in KEYS:
            cache.put(key, entry(key))
        with cache.prefetch(KEYS, FeatureEntry) as fetched:
            assert all(is_right(key, fetched.take(key)) for key in KEYS)
        assert threading.active_count() == before
        assert counts(cache.stats.memory) == (len(KEYS), 0, 0)


def test_two_threads_that_prefetch_the_same_read_it_once(make: Make) -> None:
    fill = make()
    for key in KEYS:
        fill.put(key, entry(key))
    fill.close()
    cache, wrong = make(), list[str]()
    start = threading.Barrier(2)

    def work() -> None:
        start.wait()
        with cache.prefetch(KEYS, FeatureEntry) as fetched:
            wrong.extend(key for key in KEYS if not is_right(key, fetched.take(key)))

    for thread in [started(work), started(work)]:
        thread.join(WAIT)
    assert not wrong
    assert counts(cache.stats.disk) == (len(KEYS), 0, 0)


def test_closing_ends_a_prefetch_and_leaves_memory(make: Make) -> None:
    cache = make()
    for key in KEYS:
        cache.put(key, entry(key))
    cache.flush()
    cache.memory.delete(KEYS[1:])
    fetched = cache.prefetch(KEYS[1:], FeatureEntry)
    cache.close()
    cache.close()
    for key in KEYS[1:]:
        found = fetched.take(key)
        assert found is None or is_right(key, found)
    assert is_right(A, cache.get(A, FeatureEntry))
    cache.memory.clear()
    assert A not in cache
    assert cache.get(A, FeatureEntry) is None
    cache.put(THEIRS, entry(THEIRS))
    assert is_right(THEIRS, cache.get(THEIRS, FeatureEntry))
    assert counts(cache.stats.disk)[2] == 0, "nobody tried to write it"


def test_whose_a_namespace_is_is_written_down(make: Make) -> None:
    cache = make()
    cache.register(SPACE)
    cache.put(A, entry(A))
    cache.flush()
    (found,) = cache.disk.namespaces()
    assert (found.name, found.tenant, found.label) == (SPACE.name, "tenant", "label")
    assert cache.catalog_database is cache.disk.database


def test_its_name_says_where_things_are(make: Make, shared: dict[str, Any]) -> None:
    assert repr(make(None, memory_bytes=2**21)) == "Cache(memory: 2 MiB; codec exact)"
    cache = make("a", disk_bytes=3 * 2**30, **shared)
    parts = f"memory: 4,096 MiB; {cache.disk.path}: 3,072 MiB; {shared['remote']}"
    assert repr(cache) == f"Cache({parts}; codec exact)"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"memory_bytes": -1}, ConfigurationError, "memory_bytes = -1: allowed is 0 or more"),
        ({"memory_bytes": 1.5}, ConfigurationError, "memory_bytes = 1.5"),
        ({"ttl": 0}, ConfigurationError, "ttl = 0"),
        ({"codec": "zip"}, ConfigurationError, "exact"),
        ({"remote": "memory://x"}, ConfigurationError, "remote is given without path"),
        ({"disk_bytes": 1}, ConfigurationError, "disk_bytes is given without path"),
        ({"quotas": {"a": 1}}, ConfigurationError, "quotas is given without path"),
        ({"path": "a", "remote_options": {}}, ConfigurationError, "remote_options .* without rem"),
        ({"path": "a", "disk_bytes": -1}, ConfigurationError, "-1"),
        ({"path": "a", "quotas": {"a": -1}}, ConfigurationError, "-1"),
        ({"path": "a", "remote": "nonsense"}, CacheError, "nonsense"),
        ({"path": "file"}, CacheError, "file"),
        ({"path": "a", "remote": "lost://x"}, MissingDependencyError, "Install nothing"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    (tmp_path / "file").touch()
    fsspec.register_implementation(
        "lost", "a_package_nobody_has.Store", errtxt="Install nothing", clobber=True
    )
    if "path" in options:
        options = {**options, "path": tmp_path / options["path"]}
    with pytest.raises(error, match=message):
        Cache(**options)


EXIT = """
import sys
import torch
from minireranker.cache import Cache, FeatureEntry, Namespace

cache, space = Cache(sys.argv[1], remote=sys.argv[2]), Namespace({})
keys = [space.key({"n": n}) for n in range(20)]
for key in keys:
    cache.put(key, FeatureEntry(torch.zeros(1000), ()))
Cache(sys.argv[1]).prefetch(keys, FeatureEntry)
"""


def test_a_program_that_ends_without_closing_loses_nothing(tmp_path: Path, make: Make) -> None:
    remote = (tmp_path / "store").as_uri()
    command = [sys.executable, "-P", "-c", EXIT, str(tmp_path / "a"), remote]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    space = Namespace({})
    cache = make(remote=remote)
    for number in range(20):
        key = space.key({"n": number})
        assert key in cache.disk
        assert key in cache.remote


def test_threads_that_do_everything_at_once(make: Make, shared: dict[str, Any]) -> None:
    """Nothing is ever wrong, nobody waits for ever, and what is dropped at the end is gone."""
    cache = make(memory_bytes=6000, disk_bytes=60_000, **shared)
    wrong: list[str] = []

    def work(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(60):
            key, what = choose.choice(KEYS), choose.random()
            if what < 0.4:
                cache.put(key, entry(key), durable=choose.random() < 0.7)
            elif what < 0.7:
                found = cache.get(key, FeatureEntry)
                wrong.extend([key] if found is not None and not is_right(key, found) else [])
            elif what < 0.85:
                cache.delete(choose.sample(KEYS, 3))
            elif what < 0.87:
                cache.drop(SPACE.name)
            else:
                some = choose.sample(KEYS, 6)
                with cache.prefetch(some, FeatureEntry) as fetched:
                    for wanted in some[: choose.randint(0, 6)]:
                        found = fetched.take(wanted)
                        if found is not None and not is_right(wanted, found):
                            wrong.append(wanted)

    threads = [started(lambda seed=seed: work(seed)) for seed in range(6)]
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    cache.drop(SPACE.name)
    cache.flush()
    assert not any(key in cache or key in cache.remote for key in KEYS)
    assert all(cache.get(key, FeatureEntry) is None for key in KEYS)


def test_what_is_used_in_memory_is_not_the_first_to_go_from_disk(tmp_path: Path) -> None:
    with Cache(tmp_path / "probe") as cache:
        cache.put(A, entry(A))
        cache.flush()
        size = cache.stats.disk.bytes if cache.stats.disk else None
    assert size
    with Cache(tmp_path / "cache", disk_bytes=3 * size) as cache:
        for key in KEYS[:3]:
            cache.put(key, entry(key))
        cache.flush()
        assert cache.get(A, FeatureEntry) is not None
        cache.flush()
        cache.put(KEYS[3], entry(KEYS[3]))
        cache.flush()
        assert cache.disk is not None
        assert [key in cache.disk for key in KEYS[:4]] == [True, False, True, True]
