"""What does not fit is refused with figures, before anything is loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from minireranker.bench.latency import LatencyBench, check_size
from minireranker.bench.latency.geometry import Geometry
from minireranker.bench.latency.memory import (
    Needs,
    _cgroup,
    available_memory,
    require_memory,
)
from minireranker.bench.latency.plan import Asked
from minireranker.errors import ConfigurationError

from .conftest import LOAD

GIB = 2**30


def model(billions: float) -> Geometry:
    return Geometry("m", decoder=0, vision=0, total=int(billions * 1e9))


def test_needs_are_of_the_largest_phase() -> None:
    alone, crowd = (Needs.of(model(1), "bfloat16", keep) for keep in ([], [0, GIB, 0]))
    assert alone.gate == crowd.gate == 6e9 + GIB
    assert alone.most == alone.gate
    assert crowd.most == crowd.turns == 4 * (2e9 + GIB) + GIB
    assert Needs.of(model(1), "float32", [0]).turns == 2 * (4e9 + GIB)


def test_what_cannot_fit_names_both_sizes() -> None:
    free = available_memory()
    assert free is not None
    assert GIB / 4 < free < 2**50
    with pytest.raises(ConfigurationError, match=r"m needs \d+\.\d GiB .* GiB are available"):
        require_memory(model(10_000), "bfloat16", [], "cpu")
    assert 0 < require_memory(model(0.001), "bfloat16", [], "cpu") < free


def test_where_only_the_peers_are_too_many_that_is_said() -> None:
    with pytest.raises(ConfigurationError, match="take fewer peers"):
        require_memory(model(0.001), "bfloat16", [0] * 100_000, "cpu")


def test_what_peers_keep_is_counted_and_named() -> None:
    with pytest.raises(ConfigurationError, match=r"1048576\.0 GiB of that for the prefixes") as e:
        require_memory(model(0.001), "bfloat16", [2**50], "cpu")
    assert "a smaller sample (--sample, --units)" in str(e.value)


def test_a_size_is_refused_before_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="size '3b'"):
        check_size("3b", LatencyBench(Path("3b"), LOAD))
    check_size("tiny", LatencyBench(Path("tiny"), LOAD, peers=("none",)))


def test_a_sample_whose_prefixes_do_not_fit_is_refused_before_anything_is_written() -> None:
    many = dataclasses.replace(LOAD, queries=10_000, documents=10_000, candidates=10_000)
    asked = Asked(scale=1.0, sample=10_000, units=10_000)
    with pytest.raises(ConfigurationError, match="GiB of that for the prefixes they keep"):
        check_size(
            "2b", LatencyBench(Path("2b"), many, asked=asked, peers=("transformers:prefix",))
        )


def test_a_container_bounds_memory(tmp_path) -> None:
    assert _cgroup(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("600\n")
    (tmp_path / "memory.stat").write_text("anon 3\ninactive_file 100\n")
    assert _cgroup(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert _cgroup(tmp_path) == 500
