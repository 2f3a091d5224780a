"""The memory cache: least recently used first, never over its bound, the same for every thread."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.cache import MemoryCache, Namespace, PrefixEntry, SuffixEntry, TierStats
from minireranker.cache.memory import DEFAULT_BYTES
from minireranker.errors import ConfigurationError


@dataclass(frozen=True)
class Parcel:
    """An entry of a certain size."""

    nbytes: int
    label: str = ""


@dataclass(frozen=True)
class Letter(Parcel):
    """Another kind of entry."""


def prefix(tokens: int) -> PrefixEntry:
    k, v = torch.zeros(2, tokens, 1, 8), torch.zeros(2, tokens, 1, 8)
    return PrefixEntry.encoded("exact", k, v, span=tokens, tokens=tokens)


def suffix(tokens: int) -> SuffixEntry:
    x = torch.zeros(tokens, 4)
    return SuffixEntry(x, torch.zeros(3, tokens, dtype=torch.int64), (None, x.clone(), None))


def held(cache: MemoryCache, names: str) -> str:
    """Which of the one-letter keys are there."""
    return "".join(name for name in names if name in cache)


def test_entries_count_all_their_tensors() -> None:
    assert prefix(5).nbytes == 2 * (2 * 5 * 8 * 4)
    assert suffix(5).nbytes == 2 * (5 * 4 * 4) + 3 * 5 * 8
    cache = MemoryCache()
    assert (cache.max_bytes, cache.bytes, cache.entries) == (DEFAULT_BYTES, 0, 0)
    cache.put("a", prefix(5))
    cache.put("b", suffix(5))
    assert cache.bytes == prefix(5).nbytes + suffix(5).nbytes
    assert cache.entries == 2


def test_the_least_recently_used_go_first() -> None:
    cache = MemoryCache(30)
    for name in "abc":
        cache.put(name, Parcel(10, name))
    assert cache.get("a", Parcel) == Parcel(10, "a")
    cache.put("d", Parcel(10))
    assert held(cache, "abcd") == "acd"
    cache.put("c", Parcel(10))  # written again: now the most recently used
    cache.put("e", Parcel(20))
    assert held(cache, "abcde") == "ce"
    assert cache.stats == TierStats(hits=1, misses=0, evictions=3, entries=2, bytes=30)


def test_looking_whether_a_key_is_there_does_not_use_it() -> None:
    cache = MemoryCache(20)
    cache.put("a", Parcel(10))
    cache.put("b", Parcel(10))
    assert "a" in cache
    cache.put("c", Parcel(10))
    assert held(cache, "abc") == "bc"
    assert cache.stats == TierStats(evictions=1, entries=2, bytes=20)


def test_an_entry_over_the_bound_is_not_kept_and_evicts_nothing() -> None:
    cache = MemoryCache(30)
    cache.put("a", Parcel(10))
    cache.put("b", Parcel(31))
    assert held(cache, "ab") == "a"
    cache.put("b", Parcel(20))
    assert held(cache, "ab") == "ab"
    cache.put("a", Parcel(31))  # nor does the old entry of that key stay: it is not what was put
    assert held(cache, "ab") == "b"
    assert (cache.bytes, cache.stats.evictions) == (20, 0)


def test_a_bound_of_nothing_keeps_nothing_but_what_is_empty() -> None:
    cache = MemoryCache(0)
    cache.put("a", Parcel(1))
    cache.put("b", Parcel(0))
    assert held(cache, "ab") == "b"
    assert cache.bytes == 0


def test_a_key_put_twice_counts_once() -> None:
    cache = MemoryCache(100)
    cache.put("a", Parcel(60, "old"))
    cache.put("a", Parcel(50, "new"))
    assert (cache.bytes, cache.entries, cache.stats.evictions) == (50, 1, 0)
    assert cache.get("a", Parcel) == Parcel(50, "new")


def test_an_entry_of_another_kind_is_a_miss() -> None:
    cache = MemoryCache()
    cache.put("a", prefix(2))
    assert cache.get("a", SuffixEntry) is None
    assert cache.get("b", PrefixEntry) is None
    assert cache.get("a", PrefixEntry) is not None
    assert (cache.stats.hits, cache.stats.misses) == (1, 2)


def test_a_miss_of_kind_does_not_use_the_entry() -> None:
    cache = MemoryCache(20)
    cache.put("a", Parcel(10))
    cache.put("b", Parcel(10))
    assert cache.get("a", Letter) is None
    cache.put("c", Parcel(10))
    assert held(cache, "abc") == "bc"


def test_clear_drops_entries_and_keeps_the_counts() -> None:
    cache = MemoryCache(20)
    cache.put("a", Parcel(10))
    assert cache.get("a", Parcel) is not None
    cache.clear()
    assert (cache.bytes, cache.entries, held(cache, "a")) == (0, 0, "")
    assert cache.get("a", Parcel) is None
    assert cache.stats == TierStats(hits=1, misses=1)
    cache.put("b", Parcel(20))
    assert cache.bytes == 20


def test_a_peek_is_a_use_that_is_counted_by_whoever_asked() -> None:
    cache = MemoryCache(20)
    cache.put("a", Parcel(10))
    cache.put("b", Parcel(10))
    assert cache.peek("a", Parcel) == Parcel(10)
    assert cache.peek("a", Letter) is cache.peek("c", Parcel) is None
    cache.put("c", Parcel(10))
    assert held(cache, "abc") == "ac"
    assert (cache.stats.hits, cache.stats.misses) == (0, 0)
    cache.count(hit=True)
    cache.count(hit=False)
    cache.count(hit=False)
    assert (cache.stats.hits, cache.stats.misses) == (1, 2)


def test_delete_takes_the_named_and_says_which_were_there() -> None:
    cache = MemoryCache()
    for name in "abc":
        cache.put(name, Parcel(10))
    assert cache.delete(["a", "c", "x", "a"]) == {"a", "c"}
    assert cache.delete(["a"]) == set()
    assert (held(cache, "abc"), cache.bytes, cache.stats.evictions) == ("b", 10, 0)


def test_drop_takes_a_namespace_and_nothing_beside_it() -> None:
    cache = MemoryCache()
    inside, outside = ["aa-1", "aa-2"], ["aab-1", "b-aa", "a-1"]
    for key in inside + outside:
        cache.put(key, Parcel(10))
    assert cache.drop("aa") == set(inside)
    assert cache.drop("aa") == set()
    assert all(key in cache for key in outside)
    assert cache.bytes == 30


def test_an_entry_past_its_time_is_gone() -> None:
    cache = MemoryCache(100, ttl=60)
    now = time.time()
    cache.put("old", Parcel(10), now - 61)
    cache.put("young", Parcel(10), now - 30)
    assert "old" not in cache
    assert "young" in cache
    cache.put("old", Parcel(10), now - 61)
    assert cache.get("old", Parcel) is None
    assert cache.get("young", Parcel) is not None
    assert cache.stats == TierStats(hits=1, misses=1, entries=1, bytes=10)
    forever = MemoryCache(100)
    forever.put("old", Parcel(10), 0.0)
    assert "old" in forever


def test_an_entry_from_the_future_is_new() -> None:
    """The clock has gone backwards since it was made."""
    cache = MemoryCache(100, ttl=0.5)
    cache.put("a", Parcel(10), time.time() + 1e6)
    assert cache.get("a", Parcel) is not None


def test_time_passes() -> None:
    cache = MemoryCache(100, ttl=0.02)
    cache.put("a", Parcel(10))
    assert "a" in cache
    time.sleep(0.03)
    assert "a" not in cache


def test_putting_an_entry_again_does_not_make_it_younger() -> None:
    cache = MemoryCache(100, ttl=60)
    made = time.time() - 30
    assert cache.put("a", Parcel(10), made) == made
    assert cache.put("a", Parcel(10)) == made
    assert cache.put("b", Parcel(101), made) == made, "nor one that is not kept"
    cache.put("c", Parcel(10), made - 40)
    assert cache.put("c", Parcel(10)) >= made + 30, "one past its time is made anew"


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), True, "60"])
def test_a_ttl_of_nothing_is_refused(ttl: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"ttl = .* more than 0 seconds"):
        MemoryCache(ttl=ttl)


@pytest.mark.parametrize("bound", [-1, -(2**40)])
def test_a_negative_bound_is_refused(bound: int) -> None:
    with pytest.raises(ConfigurationError, match=f"max_bytes = {bound}: allowed is 0 or more"):
        MemoryCache(bound)


OPERATIONS = st.tuples(
    st.sampled_from(["put", "get", "clear", *["put", "get"] * 4]),
    st.sampled_from("abcdef"),
    st.integers(0, 13),
    st.sampled_from([Parcel, Letter]),
)


@settings(max_examples=50, deadline=None)
@given(bound=st.integers(0, 30), operations=st.lists(OPERATIONS, max_size=60))
def test_it_is_a_list_in_order_of_use(
    bound: int, operations: list[tuple[str, str, int, type[Parcel]]]
) -> None:
    cache, model, evictions = MemoryCache(bound), list[tuple[str, Parcel]](), 0
    for at, (what, key, size, kind) in enumerate(operations):
        found = next((entry for name, entry in model if name == key), None)
        if what == "clear":
            cache.clear()
            model = []
        elif what == "get":
            expected = found if isinstance(found, kind) else None
            assert cache.get(key, kind) is expected
            if expected is not None:
                model = [item for item in model if item[0] != key] + [(key, expected)]
        else:
            entry = kind(size, str(at))
            cache.put(key, entry)
            model = [item for item in model if item[0] != key]
            model += [(key, entry)] if size <= bound else []
            while sum(parcel.nbytes for _, parcel in model) > bound:
                model.pop(0)
                evictions += 1
        assert cache.bytes == sum(parcel.nbytes for _, parcel in model) <= bound
        assert held(cache, "abcdef") == "".join(sorted(name for name, _ in model))
        assert cache.stats.evictions == evictions


@dataclass(frozen=True)
class Slow:
    """An entry that lets other threads go first whenever it is asked for its size."""

    size: int

    @property
    def nbytes(self) -> int:
        time.sleep(0)
        return self.size


def test_threads_lose_no_bytes() -> None:
    """What is counted at the end is what is there, and the bound held all the time."""
    cache, keys, over = MemoryCache(500), [str(n) for n in range(40)], []
    gets = [0] * 8
    start = threading.Barrier(8)

    def hammer(worker: int) -> None:
        choose = random.Random(worker)
        start.wait()
        for _ in range(300):
            key = choose.choice(keys)
            if choose.random() < 0.5:
                cache.put(key, Slow(choose.randrange(60)))
            else:
                cache.get(key, Slow)
                gets[worker] += 1
            if choose.random() < 0.01:
                cache.clear()

    def watch() -> None:
        while not done.is_set():
            with cache._lock:
                if not 0 <= cache.bytes <= cache.max_bytes:
                    over.append(cache.bytes)

    done = threading.Event()
    watcher = threading.Thread(target=watch)
    workers = [threading.Thread(target=hammer, args=(worker,)) for worker in range(8)]
    for thread in (watcher, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    watcher.join()
    assert not over
    entries = [cache.get(key, Slow) for key in keys]
    assert cache.bytes == sum(entry.nbytes for entry in entries if entry is not None)
    assert cache.entries == len(entries) - entries.count(None)
    assert cache.stats.hits + cache.stats.misses == sum(gets) + len(keys)


def test_who_holds_most_pays_and_nobody_is_flushed_by_another() -> None:
    names = {tenant: Namespace({"weights": "w"}, tenant) for tenant in ("small", "large", "")}
    cache = MemoryCache(100)
    for name in names.values():
        cache.register(name)
    small = [names["small"].key({"document": number}) for number in range(3)]
    for key in small:
        cache.put(key, Parcel(10))
    large = [names["large"].key({"document": number}) for number in range(50)]
    for key in large:
        cache.put(key, Parcel(10))
    assert all(key in cache for key in small)
    assert [key in cache for key in large] == [False] * 43 + [True] * 7
    assert (cache.bytes, cache.stats.evictions) == (100, 43)
    third = [names[""].key({"document": number}) for number in range(9)]
    for key in third:
        cache.put(key, Parcel(10))
    held = [sum(key in cache for key in keys) for keys in (small, large, third)]
    assert held[0] == 3
    assert sorted(held[1:]) == [3, 4]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 8), st.integers(0, 60))))
def test_a_tenant_keeps_what_is_within_its_share(
    puts: list[tuple[str, int, int]],
) -> None:
    """Whose bytes never exceed a third of the room has all he put last, whatever others put."""
    names = {tenant: Namespace({"weights": "w"}, tenant) for tenant in "abc"}
    cache = MemoryCache(90)
    for name in names.values():
        cache.register(name)
    kept: dict[str, dict[str, int]] = {tenant: {} for tenant in "abc"}
    modest = set("abc")
    for tenant, number, size in puts:
        key = names[tenant].key({"document": number})
        cache.put(key, Parcel(size))
        kept[tenant][key] = size
        modest -= {tenant} if sum(kept[tenant].values()) > 30 else set()
        assert cache.bytes <= 90
    for tenant in modest:
        assert all(key in cache for key in kept[tenant])
