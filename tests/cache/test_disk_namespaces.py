"""Tenants share a folder without flushing each other, and a namespace goes at once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from minireranker.cache.catalog import Catalog, DocumentRow
from minireranker.cache.disk import DiskCache
from minireranker.cache.entry import FeatureEntry
from minireranker.cache.format import dump
from minireranker.cache.key import Namespace
from minireranker.errors import ConfigurationError

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


def test_a_tenant_over_its_quota_pays_itself(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=10 * SIZE, quotas={"red": 2 * SIZE}) as cache:
        cache.register(RED)
        cache.register(BLUE)
        assert put(cache, *BLUES[:4], *REDS[:5])
        assert held(cache, REDS) == [3, 4]
        assert held(cache, BLUES) == [0, 1, 2, 3]
        assert not cache.put(REDS[9], entry(kib=3))
        cache.pin(REDS[3:5])
        assert not put(cache, REDS[5])
        assert put(cache, *BLUES[:9])
        assert held(cache, REDS) == [3, 4]


def test_a_tenant_that_writes_much_leaves_others_their_share(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=8 * SIZE) as cache:
        cache.register(RED)
        cache.register(BLUE)
        assert put(cache, *REDS[:6], *BLUES[:2])
        assert put(cache, *BLUES[2:50])
        assert held(cache, REDS) == [2, 3, 4, 5]
        assert held(cache, BLUES) == [46, 47, 48, 49]
        assert {info.tenant for info in cache.entries(RED.name)} == {"red"}
        assert put(cache, KEYS[0]), "a newcomer gets in, at the cost of those who hold more"
        assert held(cache, KEYS) == [0]


def test_who_is_over_a_quota_pays_before_who_holds_most(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=8 * SIZE) as cache:
        cache.register(RED)
        cache.register(BLUE)
        assert put(cache, *REDS[:3], *BLUES[:5])
    with DiskCache(tmp_path, quotas={"red": SIZE}) as cache:
        assert put(cache, *BLUES[5:7])
        assert (held(cache, REDS), len(held(cache, BLUES))) == ([2], 7)


def test_where_others_pins_leave_no_room_nobody_pays(tmp_path: Path) -> None:
    with DiskCache(tmp_path, max_bytes=5 * SIZE) as cache:
        cache.register(RED)
        cache.register(BLUE)
        assert put(cache, *REDS[:3], *BLUES[:2])
        assert cache.pin(REDS[:3]) == 3
        assert not cache.put(BLUES[5], entry(kib=3))
        assert held(cache, BLUES) == [0, 1]
        assert put(cache, *BLUES[2:6])
        assert (held(cache, REDS), held(cache, BLUES)) == ([0, 1, 2], [4, 5])


def test_entries_found_before_their_namespace_was_registered_become_its_tenants(
    tmp_path: Path,
) -> None:
    with DiskCache(tmp_path) as cache:
        assert put(cache, *REDS[:2])
        assert {info.tenant for info in cache.entries()} == {""}
        cache.register(RED)
        cache.register(RED)
        assert {info.tenant for info in cache.entries()} == {"red"}
        rows = cache.database.query("SELECT tenant, entries, bytes FROM totals WHERE entries > 0")
        assert rows == [("red", 2, 2 * SIZE)]


def test_namespaces_are_listed_with_what_they_hold(tmp_path: Path) -> None:
    with DiskCache(tmp_path) as cache:
        cache.register(SPACE)
        cache.register(BLUE)
        assert put(cache, *KEYS[:3], REDS[0])
        cache.pin(KEYS[:1])
        found = {info.name: info for info in cache.namespaces()}
        assert found.keys() == {SPACE.name, RED.name, BLUE.name}
        mine = found[SPACE.name]
        assert (mine.label, mine.tenant) == ("the label", "")
        assert (mine.entries, mine.bytes, mine.pinned) == (3, 3 * SIZE, 1)
        assert abs(mine.created - time.time()) < 60
        assert (found[RED.name].entries, found[RED.name].tenant) == (1, "")
        assert (found[BLUE.name].entries, found[BLUE.name].tenant) == (0, "blue")
        assert sorted(info.key for info in cache.entries(SPACE.name)) == sorted(KEYS[:3])
        assert len(list(cache.entries())) == 4
        assert {info.namespace for info in cache.entries(RED.name)} == {RED.name}


def test_a_dropped_namespace_is_gone_with_its_catalog(tmp_path: Path) -> None:
    with DiskCache(tmp_path) as cache:
        cache.register(SPACE)
        assert put(cache, *KEYS, *REDS[:3])
        cache.pin(KEYS[:1])
        for space in (SPACE, RED):
            Catalog(cache.database, space.name).add({"id": DocumentRow("digest", "{}")})
        assert cache.drop(SPACE.name) == 60
        assert held(cache, KEYS) == []
        assert held(cache, REDS) == [0, 1, 2]
        assert [info.name for info in cache.namespaces()] == [RED.name]
        assert Catalog(cache.database, SPACE.name).ids() == []
        assert Catalog(cache.database, RED.name).ids() == ["id"]
        assert cache.stats.bytes == size_of(tmp_path) == 3 * SIZE
        assert list((tmp_path / "tmp").iterdir()) == []
        assert cache.drop(SPACE.name) == 0
        cache.register(SPACE)
        assert put(cache, KEYS[0])
        assert {info.label for info in cache.namespaces()} == {"the label", ""}


def test_a_namespace_another_one_dropped_is_still_the_tenants(tmp_path: Path) -> None:
    with DiskCache(tmp_path) as cache, DiskCache(tmp_path) as other:
        cache.register(RED)
        assert put(cache, REDS[0])
        assert other.drop(RED.name) == 1
        assert put(cache, REDS[1])
        assert {info.tenant for info in other.entries()} == {"red"}


@pytest.mark.parametrize("name", ["..", "", "entries", "../" * 10, SPACE.name.upper()])
def test_only_a_namespace_can_be_dropped(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").write_text("mine")
    with DiskCache(tmp_path / "c") as cache:
        assert put(cache, KEYS[0])
        with pytest.raises(ConfigurationError, match="namespace"):
            cache.drop(name)
        assert reads(cache, KEYS[0])
    assert (tmp_path / "mine").exists()
