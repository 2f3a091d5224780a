"""The way through a dataset: every pair once, every document once, a bounded part at a time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minireranker.bench.quality_parts import DOCUMENTS, PAIRS, parts, places
from minireranker.engine import Document, Query
from minireranker.relevance import Dataset


def dataset(candidates: dict[str, list[str]], own: dict[str, str] | None = None) -> Dataset:
    names = {name for listed in candidates.values() for name in listed}
    return Dataset(
        "made",
        {name: Query(text=name) for name in candidates},
        {name: Document(text=name, id=name) for name in names},
        {name: {} for name in candidates},
        candidates,
        own or {},
    )


LISTS = st.lists(st.lists(st.integers(0, 150).map(str), unique=True, max_size=90), max_size=6)


@given(LISTS, st.lists(st.sampled_from(["", "a", "b"]), min_size=6, max_size=6))
def test_every_pair_comes_once_under_its_instruction(
    lists: list[list[str]], instructions: list[str]
) -> None:
    candidates = {f"q{at}": listed for at, listed in enumerate(lists)}
    own = {f"q{at}": text for at, text in enumerate(instructions) if text}
    found = list(parts(dataset(candidates, own)))
    pairs = Counter((q, d) for part in found for q, listed in part.lists.items() for d in listed)
    assert pairs == Counter((q, d) for q, listed in candidates.items() for d in listed)
    for part in found:
        assert {own.get(query) for query in part.lists} == {part.instruction}
        assert len({d for listed in part.lists.values() for d in listed}) <= DOCUMENTS
        assert part.pairs == sum(len(listed) for listed in part.lists.values())


def test_a_shared_document_is_in_one_part() -> None:
    names = [str(at) for at in range(200)]
    found = list(parts(dataset({f"q{at}": names for at in range(300)})))
    where = Counter(d for part in found for d in {d for row in part.lists.values() for d in row})
    assert set(where.values()) == {1}
    assert all(part.pairs <= PAIRS for part in found)
    assert len(found) == 4


def test_a_part_has_a_bounded_number_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minireranker.bench.quality_parts.PAIRS", 10)
    names = [str(at) for at in range(9)]
    found = list(parts(dataset({f"q{at}": names for at in range(4)})))
    assert [part.pairs for part in found] == [8, 8, 8, 8, 4]
    found = list(parts(dataset({f"q{at}": ["a"] for at in range(12)})))
    assert [part.pairs for part in found] == [12], "one document is not divided"


def test_first_queries_are_finished_first() -> None:
    lists = {f"q{at}": [f"{at} {place}" for place in range(DOCUMENTS)] for at in range(3)}
    assert [list(part.lists) for part in parts(dataset(lists))] == [["q0"], ["q1"], ["q2"]]


def test_places_are_shared_where_lists_are() -> None:
    names = ["b", "a"]
    found = places(dataset({"q0": names, "q1": names, "q2": ["a"]}))
    assert found == {"q0": {"b": 0, "a": 1}, "q1": {"b": 0, "a": 1}, "q2": {"a": 0}}
    assert found["q0"] is found["q1"]
