"""Verify: whatever a folder has come to, afterwards files, rows and totals say the same."""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from minireranker.cache.disk import DiskCache
from minireranker.cache.entry import FeatureEntry
from minireranker.cache.format import check, dump
from minireranker.cache.key import LAYOUT_VERSION, Namespace
from minireranker.cache.verify import VerifyReport, verify
from minireranker.errors import CacheError

SPACE, OTHER = Namespace({"model": "m"}), Namespace({"model": "other"}, "red")
KEYS = [space.key({"n": n}) for space in (SPACE, OTHER) for n in range(6)]
NOW = 1_700_000_000.5
SHARDS = len({key[:35] for key in KEYS})


def entry(key: str) -> FeatureEntry:
    data = torch.frombuffer(bytearray(key.encode() * 8), dtype=torch.uint8)
    return FeatureEntry(data.view(8, -1), ())


SIZE = len(dump(KEYS[0], entry(KEYS[0]), NOW))


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[DiskCache]:
    """With twelve entries in two namespaces."""
    with DiskCache(tmp_path / "c") as cache:
        cache.register(OTHER)
        for key in KEYS:
            assert cache.put(key, entry(key), NOW)
        yield cache


def file_of(cache: DiskCache, key: str) -> Path:
    return cache.path / "entries" / key[:32] / key[33:35] / f"{key}.safetensors"


def change(cache: DiskCache, sql: str, *args: object) -> None:
    with cache.database.transaction() as connection:
        connection.execute(sql, args)


def check_whole(cache: DiskCache, keys: list[str]) -> None:
    """Those entries, and not a byte more."""
    assert verify(cache, repair=False).problems == 0
    assert verify(cache) == VerifyReport(len(keys), len(keys) * SIZE)
    rows = {info.key: info.bytes for info in cache.entries()}
    assert rows == dict.fromkeys(keys, SIZE)
    assert (cache.stats.entries, cache.stats.bytes) == (len(keys), len(keys) * SIZE)
    files = {path.stem for path in (cache.path / "entries").rglob("*.safetensors")}
    assert files == set(keys)
    assert list((cache.path / "tmp").iterdir()) == []
    assert all(cache.get(key, FeatureEntry) is not None for key in keys)


def looked_then_mended(cache: DiskCache) -> VerifyReport:
    """What is only looked for is what is then put right."""
    before = sorted(path for path in cache.path.rglob("*") if "index" not in path.name)
    looked = verify(cache, repair=False)
    assert sorted(path for path in cache.path.rglob("*") if "index" not in path.name) == before
    found = verify(cache)
    assert looked == found
    return found


def test_a_sound_folder_has_no_problems(cache: DiskCache) -> None:
    steps: list[int] = []
    report = verify(cache, steps.append)
    assert report == VerifyReport(checked=12, bytes=12 * SIZE)
    assert report.problems == 0
    assert steps == [SIZE] * 12
    check_whole(cache, KEYS)


def test_damaged_files_are_removed_and_named(
    cache: DiskCache, caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray(file_of(cache, KEYS[0]).read_bytes())
    data[-1] ^= 1
    file_of(cache, KEYS[0]).write_bytes(data)
    file_of(cache, KEYS[1]).write_bytes(b"")
    file_of(cache, KEYS[2]).write_bytes(file_of(cache, KEYS[3]).read_bytes())
    report = looked_then_mended(cache)
    assert sorted(report.corrupt) == sorted(KEYS[:3])
    assert (report.checked, report.problems) == (12, 3)
    assert str(file_of(cache, KEYS[1])) in caplog.text
    check_whole(cache, KEYS[3:])


def test_files_without_a_row_are_adopted(cache: DiskCache) -> None:
    change(cache, "DELETE FROM entries WHERE key IN (?, ?)", KEYS[0], KEYS[7])
    assert looked_then_mended(cache) == VerifyReport(12, 12 * SIZE, adopted=2)
    check_whole(cache, KEYS)
    assert {info.tenant for info in cache.entries(OTHER.name)} == {"red"}


def test_rows_without_a_file_are_removed(cache: DiskCache) -> None:
    file_of(cache, KEYS[0]).unlink()
    shutil.rmtree(cache.path / "entries" / OTHER.name)
    assert looked_then_mended(cache) == VerifyReport(5, 5 * SIZE, lost_rows=7)
    check_whole(cache, KEYS[1:6])


def test_what_the_dead_have_left_is_removed(cache: DiskCache) -> None:
    tmp = cache.path / "tmp"
    (tmp / "0123.part").write_bytes(bytes(5000))
    dropped = tmp / f"{OTHER.name}.{'0' * 16}.drop"
    (cache.path / "entries" / OTHER.name).rename(dropped)
    change(cache, "UPDATE entries SET writing = '0123.part' WHERE key = ?", KEYS[0])
    change(cache, "UPDATE entries SET writing = 'gone.part' WHERE key = ?", KEYS[1])
    file_of(cache, KEYS[1]).unlink()
    report = verify(cache)
    assert (report.checked, report.temporary, report.corrupt) == (5, 2, [])
    check_whole(cache, [KEYS[0], *KEYS[2:6]])


def test_totals_and_sizes_that_are_wrong_are_put_right(cache: DiskCache) -> None:
    change(cache, "UPDATE totals SET bytes = 7, entries = 99 WHERE tenant = 'red'")
    change(cache, "INSERT INTO totals VALUES('nobody', 3, 3)")
    change(cache, "UPDATE entries SET bytes = 1 WHERE key = ?", KEYS[0])
    verify(cache)
    totals = "SELECT tenant, entries, bytes FROM totals WHERE entries > 0 ORDER BY tenant"
    assert cache.database.query(totals) == [("", 6, 6 * SIZE), ("red", 6, 6 * SIZE)]
    check_whole(cache, KEYS)


def test_foreign_files_are_named_and_left_alone(cache: DiskCache) -> None:
    shard = file_of(cache, KEYS[0]).parent
    strange = [
        cache.path / "entries" / "README",
        cache.path / "entries" / "mine" / "a.safetensors",
        shard / "notes.txt",
        shard / f"{KEYS[0]}.safetensors.bak",
        shard / f"{'0' * 32}-{'0' * 64}.safetensors",
        cache.path / "tmp" / "mine.txt",
    ]
    for path in strange:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (cache.path / "tmp" / "mine.drop").mkdir()
    report = looked_then_mended(cache)
    assert report.problems == 7
    assert {cache.path / name for name in report.foreign} == {
        *strange,
        cache.path / "tmp" / "mine.drop",
    }
    assert all(path.read_text() == "mine" for path in strange)
    assert report.checked == 12


def test_folders_left_empty_are_removed(cache: DiskCache) -> None:
    folders = cache.path / "entries"
    assert cache.delete(KEYS[6:]) == 6
    assert (folders / OTHER.name).exists()
    verify(cache)
    assert not (folders / OTHER.name).exists()
    check_whole(cache, KEYS[:6])
    assert cache.put(KEYS[6], entry(KEYS[6]), NOW)
    check_whole(cache, KEYS[:7])


def test_an_index_with_a_hole_is_made_anew(cache: DiskCache) -> None:
    cache.close()
    path = cache.path / "index.sqlite3"
    data = bytearray(path.read_bytes())
    data[4096:] = random.Random(0).randbytes(len(data) - 4096)
    with DiskCache(cache.path) as again:
        path.write_bytes(data)  # under an open connection, with an empty log
        verify(again)
        check_whole(again, KEYS)
        assert again.database.query("PRAGMA integrity_check") == [("ok",)]
    assert (cache.path / "index.sqlite3.corrupt-1").exists()


def test_entries_of_another_layout_are_sound(cache: DiskCache) -> None:
    """Two versions may share a folder: neither takes the other's entries for damage."""
    path = file_of(cache, KEYS[0])
    ours = f'"layout":"{LAYOUT_VERSION}"'.encode()
    data = path.read_bytes().replace(ours, b'"layout":"9"')
    path.write_bytes(data)
    assert verify(cache, repair=False).corrupt == [KEYS[0]], "its checksum is another"
    path.write_bytes(resealed(data))
    assert check(path.read_bytes(), KEYS[0]).layout == 9
    assert verify(cache).problems == 0
    assert path.exists()
    assert cache.get(KEYS[0], FeatureEntry) is None


def resealed(data: bytes) -> bytes:
    import xxhash

    at = data.index(b'"checksum":"') + len(b'"checksum":"')
    blank = data[:at] + b"0" * 32 + data[at + 32 :]
    return data[:at] + xxhash.xxh3_128(blank).hexdigest().encode() + data[at + 32 :]


def test_adopted_entries_count_towards_the_budget(tmp_path: Path, cache: DiskCache) -> None:
    for key in KEYS[6:]:
        target = tmp_path / "small" / file_of(cache, key).relative_to(cache.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file_of(cache, key), target)
    (tmp_path / "small" / "index.sqlite3").touch()
    with DiskCache(tmp_path / "small", max_bytes=4 * SIZE) as small:
        assert small.stats.entries == 4
        for key in KEYS[:6]:
            target = small.path / file_of(cache, key).relative_to(cache.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file_of(cache, key), target)
        assert verify(small).adopted == 6
        assert (small.stats.entries, small.stats.bytes) == (4, 4 * SIZE)


def test_verify_beside_writers_finds_nothing(cache: DiskCache) -> None:
    done, wrong = threading.Event(), list[object]()

    def write(worker: int) -> None:
        draw = random.Random(worker)
        while not done.is_set():
            key = draw.choice(KEYS)
            if draw.random() < 0.5:
                cache.delete([key])
            else:
                cache.put(key, entry(key), NOW)
            found = cache.get(key, FeatureEntry)
            if found is not None and not torch.equal(found.entry.merged, entry(key).merged):
                wrong.append(key)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        reports = [verify(cache) for _ in range(15)]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert [report.problems for report in reports] == [0] * 15
    assert cache.stats.errors == 0
    check_whole(cache, [key for key in KEYS if key in cache])


def test_empty_folders_of_others_stay(cache: DiskCache) -> None:
    strange = [cache.path / "entries" / "mine", file_of(cache, KEYS[0]).with_suffix(".d") / "e"]
    for path in strange:
        path.mkdir(parents=True)
    verify(cache)
    assert all(path.is_dir() for path in strange)


def test_what_stops_verify_is_a_cache_error(cache: DiskCache) -> None:
    blocker = sqlite3.connect(cache.path / "index.sqlite3", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    file_of(cache, KEYS[0]).unlink()
    with pytest.raises(CacheError, match=r"cannot be verified.*locked.*verify again"):
        verify(cache)
    blocker.close()
    assert verify(cache).lost_rows == 1
