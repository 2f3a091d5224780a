"""Entry keys: any difference in what an entry was made of gives another key."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.cache import LAYOUT_VERSION, entry_key, key

VALUES = st.integers(-3, 300) | st.text("ab1:;", max_size=4) | st.binary(max_size=3)
PARTS = st.dictionaries(st.text("abc:;123", min_size=1, max_size=8), VALUES, max_size=3)


def typed(parts: dict[str, Any]) -> dict[str, tuple[type, Any]]:
    return {name: (type(value), value) for name, value in parts.items()}


@settings(max_examples=100, deadline=None)
@given(PARTS, PARTS)
def test_keys_are_equal_where_the_parts_are(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert (entry_key(left) == entry_key(right)) == (typed(left) == typed(right))
    assert entry_key(left) == entry_key(dict(reversed(left.items())))


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"a": ""},
    {"a": b""},
    {"a": 1},
    {"a": "1"},
    {"a": b"1"},
    {"a": True},
    {"a": -1},
    {"b": 1},
    {"A": 1},
    {"a": "bc"},
    {"ab": "c"},
    {"a": "b", "c": ""},
    {"a": "ab", "b": "c"},
    {"a": "a", "b": "bc"},
    {"a": "b", "b": "a"},
    {"a": "x", "b": "y"},
    {"a:str:1;xb": "y"},
    {"a": "x1:b:str:1;y"},
    {"a": "é"},
    {"a": "e\u0301"},
    {"a": "\0"},
]


def test_names_values_types_and_where_they_are_split_all_matter() -> None:
    for left, right in itertools.combinations(DIFFERENT, 2):
        assert entry_key(left) != entry_key(right), f"{left} and {right} share a key"


def test_a_key_is_hex_and_the_same_every_time() -> None:
    found = entry_key({"content": b"\xff\x00", "profile": "p", "start": 3})
    assert len(found) == 64
    assert int(found, 16) > 0
    assert found == entry_key({"start": 3, "profile": "p", "content": b"\xff\x00"})


def test_the_layout_version_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = entry_key({"a": 1})
    monkeypatch.setattr(key, "LAYOUT_VERSION", LAYOUT_VERSION + 1)
    assert entry_key({"a": 1}) != before
