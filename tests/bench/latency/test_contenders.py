"""Peers by name, present or not."""

from __future__ import annotations

import pytest

from minireranker.bench.latency.contenders import choose
from minireranker.bench.peers import available
from minireranker.errors import ConfigurationError


def names(*asked: str) -> list[str]:
    return [f"{one.peer}:{one.method}" for one in choose(asked, available())]


def test_all_none_one_or_one_way_of_one() -> None:
    every = names("all")
    assert {name.partition(":")[0] for name in every} >= {"transformers", "vllm"}
    assert names("none") == []
    ways = names("transformers")
    assert set(ways) < set(every)
    assert names("transformers:prefix") == ["transformers:prefix"]
    assert names("transformers:prefix", "transformers") == ways


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigurationError, match=r"peer 'jina': there are all, none, .*vllm"):
        names("jina")


def test_an_absent_one_says_how_to_have_it(tmp_path) -> None:
    found = choose(["vllm"], available(tmp_path))
    assert found[0].absence == "absent: run `minireranker bench peers install vllm`"
