"""The queue of entries to be written: order, bounds, what is taken out of it, its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from minireranker.cache import FeatureEntry, SuffixEntry
from minireranker.cache.behind import WriteBehind
from minireranker.cache.entry import Entry
from minireranker.cache.fence import Fence


def entry(size: int) -> FeatureEntry:
    """Of so many bytes."""
    return FeatureEntry(torch.zeros(size, dtype=torch.uint8), ())


class Shelf:
    """Writes into a dict, but only while its door is open."""

    def __init__(self) -> None:
        self.held: dict[str, Entry] = {}
        self.order: list[str] = []
        self.door = threading.Event()
        self.knocked = threading.Semaphore(0)

    def write(self, key: str, entry: Entry, created: float) -> None:
        self.knocked.release()
        assert self.door.wait(10)
        if key == "bad":
            raise OSError("no such luck")
        self.held[key] = entry
        self.order.append(f"{key}{created:.0f}")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def fence() -> Fence:
    return Fence()


@pytest.fixture
def behind(shelf: Shelf, fence: Fence) -> Iterator[WriteBehind]:
    queue = WriteBehind(shelf.write, fence, 100)
    yield queue
    shelf.door.set()
    queue.close()


def started(work: threading.Thread) -> threading.Thread:
    work.start()
    return work


def test_entries_are_written_in_order_and_found_until_then(
    behind: WriteBehind, shelf: Shelf
) -> None:
    kept = [entry(10) for _ in "abc"]
    for at, (key, item) in enumerate(zip("abc", kept, strict=True)):
        behind.put(key, item, at)
    assert behind.bytes == 30
    assert [behind.peek(key, FeatureEntry, None) for key in "abc"] == kept
    assert behind.peek("a", SuffixEntry, None) is None
    assert behind.peek("x", FeatureEntry, None) is None
    shelf.door.set()
    behind.flush()
    assert shelf.order == ["a0", "b1", "c2"]
    assert behind.bytes == 0
    assert not any(key in behind for key in "abc")


def test_what_waits_past_its_time_is_not_found(behind: WriteBehind) -> None:
    behind.put("a", entry(1), time.time() - 61)
    assert behind.peek("a", FeatureEntry, 60) is None
    assert behind.peek("a", FeatureEntry, 70) is not None


def test_a_key_put_twice_waits_once(behind: WriteBehind, shelf: Shelf) -> None:
    for _ in range(3):
        behind.put("a", entry(60), 1)
    assert behind.bytes == 60
    shelf.door.set()
    behind.flush()
    assert shelf.order == ["a1"]


def test_who_puts_more_than_may_wait_waits(behind: WriteBehind, shelf: Shelf) -> None:
    behind.put("a", entry(60), 1)
    behind.put("b", entry(40), 1)
    third = started(threading.Thread(target=behind.put, args=("c", entry(1), 1)))
    third.join(0.05)
    assert third.is_alive()
    assert "c" not in behind
    behind.put("b", entry(40), 1)  # what waits already needs no room
    shelf.door.set()
    third.join(5)
    behind.flush()
    assert shelf.order == ["a1", "b1", "c1"]


def test_an_entry_larger_than_the_bound_goes_alone(behind: WriteBehind, shelf: Shelf) -> None:
    behind.put("a", entry(1), 1)
    large = started(threading.Thread(target=behind.put, args=("b", entry(101), 1)))
    large.join(0.05)
    assert large.is_alive()
    shelf.door.set()
    large.join(5)
    behind.put("c", entry(1000), 1)
    behind.flush()
    assert shelf.order == ["a1", "b1", "c1"]


def test_flush_waits_for_what_was_put_before_it(behind: WriteBehind, shelf: Shelf) -> None:
    behind.flush()
    behind.put("a", entry(1), 1)
    flush = started(threading.Thread(target=behind.flush))
    flush.join(0.05)
    assert flush.is_alive()
    shelf.door.set()
    flush.join(5)
    assert shelf.order == ["a1"]


def test_close_writes_everything(behind: WriteBehind, shelf: Shelf) -> None:
    for key in "abcdef":
        behind.put(key, entry(10), 1)
    closing = started(threading.Thread(target=behind.close))
    closing.join(0.05)
    assert closing.is_alive()
    shelf.door.set()
    closing.join(5)
    assert list(shelf.held) == list("abcdef")
    behind.put("g", entry(10), 1)
    assert "g" in shelf.held, "after the end the caller writes himself"


def test_what_is_taken_out_is_not_written(behind: WriteBehind, shelf: Shelf, fence: Fence) -> None:
    for key in ("a", "b1", "b2", "c"):
        behind.put(key, entry(10), 1)
    assert shelf.knocked.acquire(timeout=5)  # a is being written
    with fence.closed(lambda key: key[0] == "b") as matches:
        assert behind.forget(matches) == {"b1", "b2"}
        assert behind.forget(matches) == set()
        assert behind.bytes == 20
    behind.put("b2", entry(10), 2)
    shelf.door.set()
    behind.flush()
    assert shelf.order == ["a1", "c1", "b22"]


def test_a_deletion_waits_for_the_entry_being_written(
    behind: WriteBehind, shelf: Shelf, fence: Fence
) -> None:
    behind.put("a", entry(10), 1)
    assert shelf.knocked.acquire(timeout=5)

    def delete() -> None:
        with fence.closed("a".__eq__) as matches:
            behind.forget(matches)
            del shelf.held["a"]

    deletion = started(threading.Thread(target=delete))
    deletion.join(0.05)
    assert deletion.is_alive()
    shelf.door.set()
    deletion.join(5)
    behind.flush()
    assert (shelf.held, shelf.order) == ({}, ["a1"])


def test_an_entry_the_thread_has_in_hand_is_taken_out_too(
    behind: WriteBehind, shelf: Shelf, fence: Fence
) -> None:
    shelf.door.set()
    with fence.closed("a".__eq__) as matches:
        behind.put("a", entry(10), 1)
        assert not shelf.knocked.acquire(timeout=0.05)  # the thread waits at the fence
        assert behind.forget(matches) == {"a"}
    behind.put("b", entry(10), 1)
    behind.flush()
    assert shelf.order == ["b1"]


def test_room_that_is_freed_by_a_deletion_is_given_on(
    behind: WriteBehind, shelf: Shelf, fence: Fence
) -> None:
    behind.put("a", entry(10), 1)
    assert shelf.knocked.acquire(timeout=5)
    behind.put("b", entry(90), 1)
    third = started(threading.Thread(target=behind.put, args=("c", entry(90), 1)))
    with fence.closed("b".__eq__) as matches:
        behind.forget(matches)
    third.join(5)
    assert not third.is_alive()
    assert "c" in behind


def test_an_entry_that_cannot_be_written_holds_up_nothing(
    behind: WriteBehind, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.door.set()
    with caplog.at_level(logging.ERROR, "minireranker"):
        behind.put("bad", entry(10), 1)
        behind.put("good", entry(10), 1)
        behind.flush()
    assert (shelf.order, behind.bytes) == (["good1"], 0)
    assert [record.message for record in caplog.records] == [
        "could not write entry bad; it stays in memory only"
    ]
