"""Claims: who is at an entry is left alone while it lives; what the dead have left is settled."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from minireranker.cache.disk import DiskCache
from minireranker.cache.entry import FeatureEntry
from minireranker.cache.folder import Folder
from minireranker.cache.format import dump
from minireranker.cache.key import Namespace
from minireranker.cache.ledger import Ledger, Request, Verdict
from minireranker.cache.publish import Draft, is_alive, reap
from minireranker.cache.uses import MOST, Uses

SPACE = Namespace({"model": "m"})
KEYS = [SPACE.key({"n": n}) for n in range(80)]
NOW = 1_700_000_000.5
ENTRY = FeatureEntry(torch.arange(60, dtype=torch.uint8).view(6, 10), ())
SIZE = len(dump(KEYS[0], ENTRY, NOW))


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[DiskCache]:
    with DiskCache(tmp_path, max_bytes=4 * SIZE) as cache:
        yield cache


@pytest.fixture
def ledger(cache: DiskCache) -> Ledger:
    """Another's, of the same folder."""
    return Ledger(cache.database, Folder(cache.path), {})


def put(cache: DiskCache, *keys: str) -> bool:
    kept = [cache.put(key, ENTRY, NOW) for key in keys]
    return all(kept)


def held(cache: DiskCache) -> list[int]:
    return [n for n, key in enumerate(KEYS) if key in cache]


def file_of(cache: DiskCache, key: str) -> Path:
    return Path(Folder(cache.path).path_of(key))


def request(key: str, draft: Draft, size: int = SIZE) -> Request:
    return Request(key, size, NOW, draft.name)


def publish(cache: DiskCache, ledger: Ledger, wanted: Request, draft: Draft) -> None:
    draft.write(dump(wanted.key, ENTRY, NOW), NOW)
    draft.publish(str(file_of(cache, wanted.key)))
    ledger.publish(wanted)


@pytest.mark.parametrize("comes_through", [True, False])
def test_who_puts_what_another_is_writing_waits_for_it(
    cache: DiskCache, ledger: Ledger, comes_through: bool
) -> None:
    kept: list[bool] = []
    waiter = threading.Thread(target=lambda: kept.append(put(cache, KEYS[0])))
    with Draft(cache.path / "tmp") as draft:
        wanted = request(KEYS[0], draft)
        assert ledger.reserve(wanted).verdict is Verdict.GRANTED
        waiter.start()
        time.sleep(0.1)
        assert kept == []
        assert list(cache.entries()) == [], "not there yet"
        assert (cache.stats.entries, cache.pin([KEYS[0]])) == (0, 0)
        if comes_through:
            publish(cache, ledger, wanted, draft)
    waiter.join(10)
    assert kept == [True]
    assert [(info.key, info.bytes) for info in cache.entries()] == [(KEYS[0], SIZE)]
    assert cache.get(KEYS[0], FeatureEntry) is not None
    assert cache.stats.errors == 0


def test_what_is_being_written_is_neither_evicted_nor_given_away(
    cache: DiskCache, ledger: Ledger
) -> None:
    with Draft(cache.path / "tmp") as draft:
        wanted = request(KEYS[0], draft, 3 * SIZE)
        assert ledger.reserve(wanted).verdict is Verdict.GRANTED
        assert put(cache, *KEYS[1:4])
        assert held(cache) == [3], "there was room for one"
        assert cache.stats.bytes == SIZE
    assert put(cache, *KEYS[4:7])
    assert held(cache) == [3, 4, 5, 6], "nobody is there any more who wanted the room"


def test_a_key_being_written_is_deleted_once_it_is_there(cache: DiskCache, ledger: Ledger) -> None:
    deleted: list[int] = []
    waiter = threading.Thread(target=lambda: deleted.append(cache.delete([KEYS[0]])))
    with Draft(cache.path / "tmp") as draft:
        wanted = request(KEYS[0], draft)
        assert ledger.reserve(wanted).verdict is Verdict.GRANTED
        waiter.start()
        time.sleep(0.1)
        publish(cache, ledger, wanted, draft)
    waiter.join(10)
    assert deleted == [1]
    assert (held(cache), cache.stats.entries) == ([], 0)


def test_victims_stay_readable_and_paid_until_their_files_are_gone(
    cache: DiskCache, ledger: Ledger
) -> None:
    assert put(cache, *KEYS[:4])
    with Draft(cache.path / "tmp") as draft:
        answer = ledger.reserve(request(KEYS[4], draft))
        assert (answer.verdict, answer.victims) == (Verdict.EVICT, (KEYS[0],))
        assert cache.get(KEYS[0], FeatureEntry) is not None
        assert ledger.taken == 4 * SIZE
        assert put(cache, KEYS[5])
        assert held(cache) == [0, 2, 3, 5], "others find victims of their own"
        file_of(cache, KEYS[0]).unlink()
        answer = ledger.reserve(request(KEYS[4], draft), gone=[KEYS[0]])
        assert answer.verdict is Verdict.GRANTED
        assert ledger.taken == 4 * SIZE


def test_a_victim_that_cannot_be_removed_is_asked_for_last(
    cache: DiskCache, ledger: Ledger
) -> None:
    assert put(cache, *KEYS[:4])
    with Draft(cache.path / "tmp") as draft:
        assert ledger.reserve(request(KEYS[4], draft)).victims == (KEYS[0],)
        assert ledger.reserve(request(KEYS[4], draft), stuck=[KEYS[0]]).victims == (KEYS[1],)
        ledger.claims.release(draft.name)
    assert cache.stats.entries == 4
    assert put(cache, *KEYS[4:7])
    assert held(cache) == [0, 4, 5, 6]


def test_what_is_there_is_used_and_not_written_again(cache: DiskCache, ledger: Ledger) -> None:
    assert put(cache, *KEYS[:4])
    with Draft(cache.path / "tmp") as draft:
        assert ledger.reserve(request(KEYS[0], draft)).verdict is Verdict.THERE
    assert put(cache, KEYS[4])
    assert held(cache) == [0, 2, 3, 4]


def test_a_file_without_a_row_is_adopted_by_who_puts_it(cache: DiskCache, ledger: Ledger) -> None:
    assert put(cache, *KEYS[:2])
    with cache.database.transaction() as connection:
        connection.execute("DELETE FROM entries")
    with Draft(cache.path / "tmp") as draft:
        assert ledger.reserve(request(KEYS[0], draft)).verdict is Verdict.THERE
    assert [info.key for info in cache.entries()] == [KEYS[0]]
    assert cache.delete(KEYS[:2]) == 2, "with a row or without"


def test_nobody_is_let_in_before_an_index_made_anew_is_filled(
    cache: DiskCache, ledger: Ledger
) -> None:
    with cache.database.transaction() as connection:
        connection.execute("DELETE FROM meta WHERE name = 'scanned'")
    with Draft(cache.path / "tmp") as draft:
        assert ledger.reserve(request(KEYS[0], draft)).verdict is Verdict.UNKNOWN
    assert put(cache, KEYS[0])
    assert not cache.database.rebuilt


def test_who_opens_the_folder_clears_away_what_the_dead_have_left(cache: DiskCache) -> None:
    tmp = cache.path / "tmp"
    assert put(cache, *KEYS[:3])
    with cache.database.transaction() as connection:  # two evicted, but one not removed yet
        connection.execute("UPDATE entries SET writing = 'x.part' WHERE key <> ?", (KEYS[2],))
    file_of(cache, KEYS[1]).unlink()
    (tmp / "y.part").write_bytes(bytes(3000))
    dropped = tmp / f"{'a' * 32}.{'0' * 16}.drop" / "aa"
    dropped.mkdir(parents=True)
    (dropped / "file").write_bytes(bytes(3000))
    assert cache.stats.entries == 1
    with DiskCache(cache.path) as again:
        assert list(tmp.iterdir()) == []
        assert (again.stats.entries, again.stats.bytes) == (2, 2 * SIZE)
        assert {info.key for info in again.entries()} == {KEYS[0], KEYS[2]}


def test_a_void_claim_keeps_nobody_from_putting_pinning_deleting(cache: DiskCache) -> None:
    assert put(cache, *KEYS[:4])
    file_of(cache, KEYS[0]).unlink()
    with cache.database.transaction() as connection:
        connection.execute("UPDATE entries SET writing = 'x.part'")
    assert put(cache, KEYS[0])
    assert cache.pin([KEYS[1]]) == 1
    assert cache.delete([KEYS[2]]) == 1
    assert put(cache, KEYS[4], KEYS[5])
    assert held(cache) == [0, 1, 4, 5] or held(cache) == [1, 3, 4, 5]
    assert cache.stats.bytes == 4 * SIZE


def test_only_the_file_that_was_read_is_removed(cache: DiskCache) -> None:
    assert put(cache, KEYS[0])
    folder = Folder(cache.path)
    inode = file_of(cache, KEYS[0]).stat().st_ino
    assert not folder.remove(KEYS[0], inode + 1)
    assert folder.remove(KEYS[0], inode)
    assert not folder.remove(KEYS[0], inode)


def test_large_entries_are_mapped(cache: DiskCache) -> None:
    with DiskCache(cache.path, max_bytes=2**24):
        large = FeatureEntry(torch.ones(2**10, 2**10, dtype=torch.uint8), ())
    assert cache.put(KEYS[0], large)
    found = cache.get(KEYS[0], FeatureEntry)
    assert found is not None
    assert str(file_of(cache, KEYS[0])) in Path("/proc/self/maps").read_text()


def test_a_draft_lives_as_long_as_it_is_open(tmp_path: Path) -> None:
    with Draft(tmp_path) as draft:
        assert is_alive(draft.path)
        assert not reap(draft.path)
    assert not draft.path.exists()
    draft.path.write_bytes(b"x")
    assert not is_alive(draft.path)
    assert reap(draft.path)
    assert not reap(draft.path)
    assert os.listdir(tmp_path) == []


def test_uses_are_kept_in_the_order_of_the_last() -> None:
    uses = Uses()
    due = [uses.add(key) for key in (*KEYS[:MOST], KEYS[0])]
    assert due == [False] * (MOST - 1) + [True] * 2
    assert uses.take() == [*KEYS[1:MOST], KEYS[0]]
    assert uses.take() == []
    uses.add(KEYS[3])
    uses.give_back([KEYS[1], KEYS[3]])
    assert uses.take() == [KEYS[1], KEYS[3]]
    uses.add(KEYS[0])
    time.sleep(1.01)
    assert uses.add(KEYS[1]), "after a second"
