"""Single flight: one thread works on a key, the others wait for it, nobody waits for ever."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import Future

import pytest
import torch

from minireranker.cache import FeatureEntry
from minireranker.cache.flight import Flights


def entry(value: float) -> FeatureEntry:
    return FeatureEntry(torch.full((1, 1), value), ())


def test_what_is_free_is_mine_and_in_order() -> None:
    flights = Flights()
    with flights.claim(["c", "a", "c", "b"]) as first:
        assert (first.mine, first.theirs) == (["c", "a", "b"], {})
        with flights.claim(["a", "d", "c"]) as second:
            assert (second.mine, list(second.theirs)) == (["d"], ["a", "c"])


def test_what_lands_is_given_to_all_who_wait() -> None:
    flights, made = Flights(), entry(1)
    with flights.claim("a") as owner:
        others = [flights.claim("a").__enter__() for _ in range(3)]
        owner.land("a", made)
        with flights.claim("a") as later:
            assert later.mine == ["a"], "what has landed is no longer in flight"
    assert all(other.theirs["a"].result(0) is made for other in others)


def test_what_does_not_land_has_failed() -> None:
    flights = Flights()
    owner, waiter = flights.claim("ab"), flights.claim("ab")

    def work() -> None:
        with owner, waiter:
            owner.land("b", entry(2))
            raise OSError("no power")

    with pytest.raises(OSError, match="no power"):
        work()
    assert waiter.theirs["a"].result(0) is None
    assert waiter.theirs["b"].result(0) is not None
    with flights.claim("ab") as next_one:
        assert next_one.mine == ["a", "b"]


def test_an_owner_who_fails_hands_over_to_one_who_waits() -> None:
    flights, turns, got = Flights(), [], []
    started, fail = threading.Event(), threading.Event()

    def want(name: str) -> None:
        while True:
            with flights.claim("a") as claim:
                if claim.mine:
                    turns.append(name)
                    started.set()
                    if len(turns) == 1:
                        fail.wait(5)
                        continue
                    claim.land("a", entry(7))
                    return
            if (found := claim.theirs["a"].result(5)) is not None:
                got.append(found)
                return

    threads = [threading.Thread(target=want, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
        started.wait(5)
    fail.set()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
    assert turns[0] == "x"
    assert len(turns) + len(got) == 4, "x failed once; after that each made it or was given it"


def test_waiting_cannot_be_cancelled_for_the_others() -> None:
    flights = Flights()
    with flights.claim("a") as owner:
        with flights.claim("a") as waiter:
            future: Future[object] = waiter.theirs["a"]
            assert not future.cancel()
        owner.land("a", entry(1))
    assert future.result(0) is not None


def test_only_what_is_mine_lands_and_once() -> None:
    flights = Flights()
    with flights.claim("a") as owner, flights.claim("a") as waiter:
        with pytest.raises(AssertionError, match="a is not in flight here"):
            waiter.land("a", entry(1))
        owner.land("a", entry(1))
        with pytest.raises(AssertionError, match="a is not in flight here"):
            owner.land("a", entry(1))


def test_a_claim_that_is_not_entered_holds_nothing() -> None:
    flights = Flights()
    forgotten = flights.claim("a")
    with flights.claim("a") as claim:
        assert claim.mine == ["a"]
    assert (forgotten.mine, forgotten.theirs) == ([], {})


def test_threads_that_overlap_at_random_compute_each_key_once() -> None:
    """Hundreds of claims of up to six keys at a time, one in ten of which fails on the way."""
    flights, keys = Flights(), [str(number) for number in range(60)]
    shelf: dict[str, FeatureEntry] = {}
    computed: Counter[str] = Counter()
    at_work: set[str] = set()
    wrong: list[str] = []
    lock, start = threading.Lock(), threading.Barrier(8)

    def compute(key: str, choose: random.Random) -> FeatureEntry | None:
        with lock:
            if key in at_work or key in shelf:
                wrong.append(key)
            at_work.add(key)
        if choose.random() < 0.3:
            threading.Event().wait(choose.random() / 500)
        with lock:
            at_work.remove(key)
            if choose.random() < 0.1:
                return None
            computed[key] += 1
            shelf[key] = entry(float(key))
        return shelf[key]

    def fetch(wanted: list[str], choose: random.Random) -> dict[str, FeatureEntry]:
        found: dict[str, FeatureEntry] = {}
        while missing := [key for key in wanted if key not in found]:
            with flights.claim(missing) as claim:
                for key in claim.mine:
                    made = shelf.get(key) or compute(key, choose)
                    if made is None:
                        break
                    claim.land(key, made)
                    found[key] = made
            for key, future in claim.theirs.items():
                other = future.result(10)
                if isinstance(other, FeatureEntry):
                    found[key] = other
        return found

    def work(seed: int) -> None:
        choose = random.Random(seed)
        start.wait()
        for _ in range(100):
            wanted = choose.sample(keys, choose.randint(1, 6))
            for key, value in fetch(wanted, choose).items():
                if value.merged.item() != float(key):
                    wrong.append(key)

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    assert not wrong
    assert set(computed) == set(keys)
    assert set(computed.values()) == {1}
