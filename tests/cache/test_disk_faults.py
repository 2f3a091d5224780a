"""The machine's faults: a full disk, no permission, read-only folders. Never lost, never raised."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from minireranker.cache.disk import DiskCache
from minireranker.cache.entry import FeatureEntry
from minireranker.cache.key import Namespace
from minireranker.cache.verify import verify
from minireranker.errors import CacheError

SPACE = Namespace({"model": "m"}, label="m")
KEYS = [SPACE.key({"n": n}) for n in range(100)]
NOBODY = 65534
KIB = 2**10


def entry(key: str, kib: int = 32) -> FeatureEntry:
    data = hashlib.shake_256(key.encode()).digest(kib * KIB)
    return FeatureEntry(torch.frombuffer(bytearray(data), dtype=torch.uint8).view(kib, KIB), ())


def reads(cache: DiskCache, key: str, kib: int = 32) -> bool:
    """Whether ``key`` is there, right to the bit."""
    found = cache.get(key, FeatureEntry)
    return found is not None and torch.equal(found.entry.merged, entry(key, kib).merged)


def filled(path: Path, count: int = 4) -> list[str]:
    """A cache folder with some entries; their keys."""
    with DiskCache(path, max_bytes=2**24) as cache:
        cache.register(SPACE)
        assert all(cache.put(key, entry(key)) for key in KEYS[:count])
    return KEYS[:count]


def file_of(path: Path, key: str) -> Path:
    return next(path.glob(f"entries/*/*/{key}.safetensors"))


def leftovers(path: Path) -> list[Path]:
    return list((path / "tmp").iterdir())


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """``disk(options)`` mounts a file system of its own, and again with other options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if shutil.which("mount") is None:
            pytest.skip("there is no mount command")
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that belongs to somebody whom permission bits bind."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield folder
    finally:
        for item in [folder, *folder.rglob("*")]:
            if item.is_dir():
                item.chmod(0o755)
        shutil.rmtree(folder)


@contextlib.contextmanager
def bound() -> Iterator[None]:
    """Not root in here."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextlib.contextmanager
def limited(what: int, value: int) -> Iterator[None]:
    """This process may only so much in here."""
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


def test_a_full_disk_refuses_what_is_new_and_keeps_what_is_old(
    disk: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = disk("size=1m") / "cache"
    with DiskCache(path, max_bytes=2**30) as cache:
        kept = [key for key in KEYS if cache.put(key, entry(key))]
        assert 8 <= len(kept) < 32
        assert all(reads(cache, key) for key in kept)
        assert leftovers(path) == []
        assert cache.stats.entries == len(kept)
        assert cache.stats.errors == len(KEYS) - len(kept)
        assert 1 <= len(messages(caplog)) <= 3, "at most once a minute a cause"
        assert str(path) in caplog.text
        assert "o space left" in caplog.text or "full" in caplog.text
        assert cache.delete(kept[:8]) == 8
        assert all(cache.put(key, entry(key)) and reads(cache, key) for key in KEYS[-3:])
        assert verify(cache).problems == 0


def test_a_disk_that_others_filled_to_the_last_byte(disk: Callable[[str], Path]) -> None:
    place = disk("size=1m")
    kept = filled(place / "cache")
    with DiskCache(place / "cache") as cache:
        fill_up(place / "ballast")
        assert not cache.put(KEYS[50], entry(KEYS[50]))
        assert all(reads(cache, key) for key in kept)
        cache.flush()
        cache.pin(kept[:1])
        cache.delete(kept[:1])
        assert kept[0] not in cache
        (place / "ballast").unlink()
        assert cache.put(KEYS[50], entry(KEYS[50]))
        assert all(reads(cache, key) for key in [*kept[1:], KEYS[50]])
        verify(cache)
        assert verify(cache).problems == 0
        assert cache.stats.entries == len(kept)


def test_a_folder_opened_on_a_full_disk_still_reads(disk: Callable[[str], Path]) -> None:
    place = disk("size=1m")
    kept = filled(place / "cache")
    fill_up(place / "ballast")
    with DiskCache(place / "cache") as cache:
        assert all(reads(cache, key) for key in kept)
        assert not cache.put(KEYS[50], entry(KEYS[50]))


def test_pruning_frees_a_disk_that_is_full(disk: Callable[[str], Path]) -> None:
    place = disk("size=1m")
    kept = filled(place / "cache")
    with DiskCache(place / "cache") as cache:
        fill_up(place / "ballast")
        assert cache.prune(max_bytes=0) == len(kept)
        assert not any(reads(cache, key) for key in kept)
        assert cache.put(KEYS[50], entry(KEYS[50]))
        assert verify(cache).problems <= len(kept), "rows that could not be written off"
        assert verify(cache).problems == 0


def test_a_new_folder_on_a_full_disk(disk: Callable[[str], Path]) -> None:
    place = disk("size=1m")
    fill_up(place / "ballast")
    with pytest.raises(CacheError, match=str(place)):
        DiskCache(place / "cache")
    (place / "ballast").unlink()
    with DiskCache(place / "cache") as cache:
        assert cache.put(KEYS[0], entry(KEYS[0]))
        assert reads(cache, KEYS[0])


def fill_up(path: Path) -> None:
    """Write until there is no byte left."""
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def test_a_file_that_cannot_be_written_whole_is_no_entry(tmp_path: Path) -> None:
    with DiskCache(tmp_path / "cache", max_bytes=2**24) as cache:
        assert cache.put(KEYS[0], entry(KEYS[0], 8))
        with limited(resource.RLIMIT_FSIZE, 64 * KIB):  # as on a full disk, without root
            assert not cache.put(KEYS[1], entry(KEYS[1], 128))
            assert leftovers(cache.path) == []
            assert KEYS[1] not in cache
            assert reads(cache, KEYS[0], 8)
        assert cache.stats.errors == 1
        assert cache.put(KEYS[1], entry(KEYS[1], 128))
        assert reads(cache, KEYS[1], 128)
        assert verify(cache).problems == 0


def test_an_index_that_cannot_grow_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with DiskCache(tmp_path / "cache", max_bytes=2**24) as cache:
        with limited(resource.RLIMIT_FSIZE, 200 * KIB):
            kept = [key for key in KEYS if cache.put(key, entry(key, 1))]
            assert 0 < len(kept) < len(KEYS), "the log of the index should have met the bound"
            assert all(reads(cache, key, 1) for key in kept)
            cache.pin(kept)
            cache.delete(kept[:1])
            assert kept[0] not in cache
            assert leftovers(cache.path) == []
        assert messages(caplog)
        assert all(cache.put(key, entry(key, 1)) for key in KEYS)
        assert all(reads(cache, key, 1) for key in KEYS)
        verify(cache)
        assert verify(cache).problems == 0


def check_reading_only(cache: DiskCache, kept: list[str], log: pytest.LogCaptureFixture) -> None:
    """Everything that reads works, everything that writes says no, and one line tells."""
    assert cache.read_only
    assert all(reads(cache, key) and key in cache for key in kept)
    assert cache.read_bytes(kept[0])
    assert not any(cache.put(key, entry(key)) for key in KEYS[50:60])
    assert not cache.put_bytes(KEYS[0], cache.read_bytes(kept[0]) or b"")
    assert (cache.delete(kept), cache.pin(kept), cache.drop(SPACE.name)) == (0, 0, 0)
    assert cache.prune(max_bytes=0) == 0
    cache.register(SPACE)
    cache.flush()
    assert {info.key for info in cache.entries()} in (set(kept), set())
    assert cache.stats.hits >= len(kept)
    assert len(messages(log)) == 1
    assert str(cache.path) in messages(log)[0]
    assert verify(cache, repair=False).checked == len(kept)
    with pytest.raises(CacheError):
        verify(cache)


def test_a_read_only_mount_is_read(
    disk: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = disk("size=4m") / "cache"
    kept = filled(path)
    disk("remount,ro")
    with DiskCache(path) as cache:
        check_reading_only(cache, kept, caplog)
    disk("remount,rw")
    with DiskCache(path) as cache:
        assert not cache.read_only
        assert all(reads(cache, key) for key in kept)
        assert cache.put(KEYS[50], entry(KEYS[50]))
        assert verify(cache).problems == 0


def test_a_folder_without_write_permission_is_read(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bound():
        kept = filled(place / "cache")
        everything = [place / "cache", *(place / "cache").rglob("*")]
        for item in everything:
            item.chmod(0o555 if item.is_dir() else 0o444)
        with DiskCache(place / "cache") as cache:
            check_reading_only(cache, kept, caplog)


def test_a_cache_of_another_user_is_read(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    if os.geteuid():
        pytest.skip("only root can make a folder that belongs to somebody else")
    kept = filled(place / "cache")
    with bound(), DiskCache(place / "cache") as cache:
        check_reading_only(cache, kept, caplog)


def test_permission_that_goes_and_comes_back(place: Path) -> None:
    with bound():
        kept = filled(place / "cache")
        with DiskCache(place / "cache") as cache:
            folders = [item for item in (place / "cache").rglob("*") if item.is_dir()]
            for item in folders:
                item.chmod(0o555)
            assert not cache.put(KEYS[50], entry(KEYS[50]))
            assert all(reads(cache, key) for key in kept)
            for item in folders:
                item.chmod(0o755)
            assert cache.put(KEYS[50], entry(KEYS[50]))
            assert verify(cache).problems == 0


@pytest.mark.parametrize("hidden", ["file", "shard", "entries"])
def test_unreadable_entries_are_misses_and_stay(
    place: Path, hidden: str, caplog: pytest.LogCaptureFixture
) -> None:
    with bound():
        kept = filled(place / "cache")
        file = file_of(place / "cache", kept[0])
        item = {"file": file, "shard": file.parent, "entries": place / "cache" / "entries"}[hidden]
        with DiskCache(place / "cache") as cache:
            item.chmod(0)
            assert cache.get(kept[0], FeatureEntry) is None
            assert cache.read_bytes(kept[0]) is None
            assert cache.stats.errors >= 1
            assert messages(caplog)
            assert all(reads(cache, key) for key in kept[1:]) or hidden != "file"
            item.chmod(0o700)
            assert all(reads(cache, key) for key in kept)
            assert verify(cache).problems == 0


def test_no_file_can_be_opened_any_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = filled(tmp_path / "cache")
    with DiskCache(tmp_path / "cache") as cache:
        with limited(resource.RLIMIT_NOFILE, 0):
            assert cache.get(kept[0], FeatureEntry) is None
            assert not cache.put(KEYS[50], entry(KEYS[50]))
            assert kept[1] in cache
            cache.pin(kept[:1])
            cache.drop("0" * 32)
            cache.flush()
        assert "Too many open files" in caplog.text
        assert all(reads(cache, key) for key in kept)
        assert cache.put(KEYS[50], entry(KEYS[50]))
        assert verify(cache).problems == 0


def test_an_entry_that_cannot_be_removed_blocks_no_other(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bound():
        kept = filled(place / "cache")
        stuck = file_of(place / "cache", kept[0]).parent
        with DiskCache(place / "cache", max_bytes=4 * 40 * KIB) as cache:
            stuck.chmod(0o555)
            assert all(cache.put(key, entry(key)) for key in KEYS[50:53])
            assert [reads(cache, key) for key in kept] == [True, False, False, False]
            assert messages(caplog)
            assert cache.delete([kept[0], *KEYS[50:53]]) == 3
            assert not any(key in cache for key in KEYS[50:53])
            assert all(cache.put(key, entry(key)) for key in KEYS[50:53])
            stuck.chmod(0o755)
            assert cache.delete(kept) == 1
            assert verify(cache).problems == 0


@pytest.mark.parametrize("what", ["folder", "pipe", "device", "loop"])
def test_what_lies_in_an_entrys_place_is_no_entry(tmp_path: Path, what: str) -> None:
    kept = filled(tmp_path / "cache")
    file = file_of(tmp_path / "cache", kept[0])
    file.unlink()
    make = {
        "folder": file.mkdir,
        "pipe": lambda: os.mkfifo(file),
        "device": lambda: file.symlink_to("/dev/zero"),
        "loop": lambda: file.symlink_to(file),
    }
    make[what]()
    with DiskCache(tmp_path / "cache") as cache:
        assert cache.get(kept[0], FeatureEntry) is None
        assert cache.read_bytes(kept[0]) is None
        assert all(reads(cache, key) for key in kept[1:])
        assert cache.put(kept[0], entry(kept[0])) == reads(cache, kept[0])
        assert cache.delete(kept[:2]) in (1, 2)
        assert cache.get(kept[1], FeatureEntry) is None
        verify(cache)
        after = verify(cache)
        assert after.problems == len(after.foreign) <= 1


def test_no_permission_to_the_parent(place: Path) -> None:
    (place / "closed").mkdir(mode=0)
    with bound(), pytest.raises(CacheError, match="closed") as caught:
        DiskCache(place / "closed" / "cache")
    assert "ermission" in str(caught.value)


def test_a_folder_nothing_can_be_read_of(place: Path) -> None:
    with bound():
        filled(place / "cache")
        (place / "cache").chmod(0)
        with pytest.raises(CacheError, match="cache"):
            DiskCache(place / "cache")


@pytest.mark.parametrize("below", ["", "cache", "a/b/cache"])
def test_a_file_where_the_folder_should_be(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CacheError, match="file"):
        DiskCache(tmp_path / "file" / below)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(CacheError, match=str(tmp_path)):
        DiskCache(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.tex"]
