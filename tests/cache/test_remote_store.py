"""The shared store: what is put is got from any driver, and a store that fails is an empty one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.spec import AbstractFileSystem

from minireranker.cache import Namespace, TierStats
from minireranker.cache.remote import RemoteStore
from minireranker.errors import CacheError, MissingDependencyError

SPACE, OTHER = Namespace({"weights": "w"}), Namespace({"weights": "w"}, tenant="t")
KEYS = [SPACE.key({"document": number}) for number in range(4)]

Url = Callable[[str], str]


class OwnError(Exception):
    """What a driver may raise: no OSError."""


class Unreachable(AbstractFileSystem):
    """A store whose network is down."""

    protocol = "unreachable"
    cachable = False

    def __init__(self, error: type[Exception] = OSError) -> None:
        super().__init__()
        self.error = error

    def fail(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error("the network is down")

    cat_file = pipe_file = exists = rm_file = find = makedirs = fail


fsspec.register_implementation("unreachable", Unreachable, clobber=True)


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Url:
    return lambda name: f"{request.param}://{tmp_path}/{name}"


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_is_put_is_got_by_anybody(url: Url) -> None:
    store = RemoteStore(url("store"))
    assert store.get(KEYS[0]) is None
    assert KEYS[0] not in store
    assert store.put(KEYS[0], b"abc")
    assert KEYS[0] in store
    assert RemoteStore(url("store/")).get(KEYS[0]) == b"abc"
    assert store.put(KEYS[0], b"other")
    assert store.get(KEYS[0]) == b"other"
    assert RemoteStore(url("store2")).get(KEYS[0]) is None
    assert store.stats == TierStats(hits=1, misses=1, entries=None, bytes=None)


def test_deleted_is_gone(url: Url) -> None:
    store = RemoteStore(url("store"))
    for key in KEYS[:3]:
        store.put(key, b"abc")
    assert store.delete([KEYS[0], KEYS[2], KEYS[3]]) == 2
    assert list(store.keys()) == [KEYS[1]]
    assert (store.get(KEYS[0]), store.stats.errors) == (None, 0)


def test_keys_are_those_of_objects_in_their_places(url: Url) -> None:
    store = RemoteStore(url("store"))
    assert list(store.keys()) == list(store.keys(SPACE.name)) == []
    theirs = OTHER.key({"document": 0})
    for key in (*KEYS, theirs):
        store.put(key, b"abc")
    fs, root = fsspec.url_to_fs(url("store"))
    shard = f"{root}/{SPACE.name}/{KEYS[0][33:35]}"
    for name in ("README", f"{KEYS[0]}.part", f"x{KEYS[0]}.safetensors", f"{theirs}.safetensors"):
        fs.pipe_file(f"{shard}/{name}", b"")
    fs.pipe_file(f"{root}/{KEYS[0]}.safetensors", b"")
    assert sorted(store.keys()) == sorted([*KEYS, theirs])
    assert sorted(store.keys(SPACE.name)) == sorted(KEYS)
    assert list(store.keys(OTHER.name)) == [theirs]


def test_objects_lie_where_the_disk_has_them(tmp_path: Path) -> None:
    RemoteStore(tmp_path.as_uri()).put(KEYS[0], b"abc")
    name, digest = KEYS[0].split("-")
    assert (tmp_path / name / digest[:2] / f"{KEYS[0]}.safetensors").read_bytes() == b"abc"


def test_a_file_is_never_seen_half_written(tmp_path: Path) -> None:
    store = RemoteStore(tmp_path.as_uri())
    whole = {bytes([letter]) * 300_000 for letter in range(20)}
    done, seen = threading.Event(), set()
    store.put(KEYS[0], min(whole))

    def read() -> None:
        while not done.is_set():
            seen.add(store.get(KEYS[0]))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        for data in whole:
            store.put(KEYS[0], data)
    done.set()
    reader.join()
    assert seen <= whole
    assert len(list(tmp_path.rglob("*.*"))) == 1, "no temporary file stays"


def test_a_file_that_cannot_be_published_leaves_nothing(tmp_path: Path) -> None:
    store = RemoteStore(tmp_path.as_uri())
    store.put(KEYS[0], b"abc")
    (path,) = tmp_path.rglob("*.safetensors")
    path.unlink()
    path.mkdir()
    assert not store.put(KEYS[0], b"abc")
    assert list(path.parent.iterdir()) == [path]
    assert list(path.iterdir()) == []
    assert store.stats.errors == 1


def test_an_object_of_no_use_may_be_replaced(url: Url, caplog: pytest.LogCaptureFixture) -> None:
    store = RemoteStore(url("store"))
    for key in KEYS[:2]:
        store.put(key, b"abc")
        store.get(key)
    store.distrust(KEYS[0], ValueError("damaged"))
    store.distrust(KEYS[1])
    assert not any(key in store for key in KEYS[:2])
    assert (store.stats.hits, store.stats.misses, store.stats.errors) == (0, 2, 1)
    (message,) = messages(caplog)
    assert "damaged" in message
    store.put(KEYS[0], b"abc")
    assert KEYS[0] in store


@pytest.mark.parametrize("error", [OSError, TimeoutError, PermissionError, OwnError])
def test_a_store_that_fails_is_an_empty_one(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    store = RemoteStore("unreachable://user:secret@host/store", error=error)
    for _ in range(3):
        assert store.get(KEYS[0]) is None
        assert not store.put(KEYS[0], b"abc")
        assert KEYS[0] not in store
        assert store.delete(KEYS[:2]) == 0
        assert list(store.keys()) == []
    assert store.stats == TierStats(misses=3, errors=3 * 6, entries=None, bytes=None)
    said = messages(caplog)
    assert len(said) == 5, "each kind of failure once a minute"
    assert all(f"unreachable://host/store ({error.__name__}: the net" in text for text in said)
    assert "secret" not in f"{said}{store!r}"


def test_what_a_driver_does_not_find_is_no_failure() -> None:
    store = RemoteStore("unreachable://x", error=FileNotFoundError)
    assert store.get(KEYS[0]) is None
    assert store.delete(KEYS) == 0
    assert list(store.keys(SPACE.name)) == []
    assert store.stats == TierStats(misses=1, entries=None, bytes=None)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("nonsense", {}, "'nonsense' is not a URL; use s3://"),
        ("", {}, "is not a URL"),
        ("nope://me:secret@x", {}, "'nope://x' cannot be opened .*nope.* check the URL"),
        ("unreachable://x", {"colour": 1}, "cannot be opened .*colour.* check the URL and remote"),
    ],
)
def test_what_is_no_store_is_refused(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CacheError, match=message):
        RemoteStore(url, **options)


def test_a_driver_that_is_not_installed_is_named() -> None:
    fsspec.register_implementation(
        "far", "a_package_nobody_has.Store", errtxt="Install a-package-nobody-has", clobber=True
    )
    with pytest.raises(MissingDependencyError, match=r"'far://x'.*Install a-package-nobody-has"):
        RemoteStore("far://x")
