"""What is left out of a workload where the model is large, and that it is said."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from minireranker.bench.latency.geometry import Geometry
from minireranker.bench.latency.plan import Asked, Plan, make_plan
from minireranker.bench.latency.workload import find_workload
from minireranker.errors import ConfigurationError


def plan(
    size: str, name: str = "coco-t2i", threads: int = 2, cold_modes: int = 0, **asked: object
) -> Plan:
    load, model, wanted = find_workload(name), Geometry.of_size(size), Asked(**asked)
    return make_plan(load, model, wanted, threads=threads, gpu=False, cold_modes=cold_modes)


def test_a_tiny_model_does_all_of_it() -> None:
    found = plan("tiny")
    assert found.load == find_workload("coco-t2i")
    assert len(found.said) == 1
    assert f"{found.units * found.sample} of 1000 pairs" in found.said[0]


def test_a_large_one_on_two_threads_does_less_and_says_so() -> None:
    found = plan("2b")
    assert found.load.documents < 100
    assert found.load.listed == found.load.documents
    assert f"documents 100 -> {found.load.documents}" in found.said[0]
    assert "so that reading takes minutes here" in found.said[0]
    assert found.sample * found.units <= 4
    more = plan("2b", threads=64)
    assert more.load.documents > found.load.documents
    assert plan("2b", "msrvtt").load.documents < found.load.documents
    gpu = make_plan(find_workload("msrvtt"), Geometry.of_size("2b"), Asked(), threads=2, gpu=True)
    assert gpu.load.documents == 100


def test_pictures_take_time_that_no_product_explains() -> None:
    """A tiny model reads a page no faster than its pixels are decoded."""
    stream = plan("tiny", "reuse-stream")
    assert stream.load.documents < 999
    assert stream.load.queries == 100
    assert stream.load.queries * stream.load.listed / stream.load.documents == pytest.approx(
        10, 0.1
    )
    rounds = [plan("tiny", name).rounds for name in ("coco-t2i", "visual-documents")]
    assert rounds[0] > rounds[1]


def test_what_every_mode_reads_anew_counts_every_time() -> None:
    """A stream's pages are read once a mode; without one, once a query, repeat and turn."""
    once, twice, often = (plan("tiny", "reuse-stream", cold_modes=each) for each in (0, 2, 8))
    assert once.load.documents > twice.load.documents > often.load.documents
    warm, cold = plan("tiny"), plan("tiny", cold_modes=2)
    assert cold.load.documents < warm.load.documents
    assert "so that reading takes minutes here" in cold.said[0]
    less = plan("tiny", cold_modes=2, repeats=1, units=1, rounds=1)
    assert less.load.documents > cold.load.documents
    assert plan("tiny", cold_modes=2, documents=80).load.documents == 80


def test_what_is_asked_for_is_done() -> None:
    found = plan("2b", documents=60, queries=3, sample=5, units=9, rounds=7, repeats=4)
    load = found.load
    assert (load.documents, load.queries, load.listed) == (60, 3, 60)
    assert (found.sample, found.units, found.rounds, found.repeats) == (5, 3, 7, 4)
    assert "as asked: documents 100 -> 60" in found.said
    assert plan("2b", scale=1.0).load == find_workload("coco-t2i")
    assert plan("tiny", scale=0.5).load.documents == 50


def test_a_sample_is_at_most_the_list() -> None:
    found = plan("tiny", documents=3, queries=1, sample=50, units=50)
    assert (found.sample, found.units) == (3, 1)


@pytest.mark.parametrize("size", ["tiny", "2b", "8b"])
def test_sizes_are_known_before_they_are_written(size: str) -> None:
    found = Geometry.of_size(size)
    billions = {"tiny": 0.0005, "2b": 2.13, "8b": 8.77}[size]
    assert found.total / 1e9 == pytest.approx(billions, rel=0.02, abs=1e-4)
    assert 0 < found.vision < found.total
    assert 0 < found.decoder < found.total


def test_sizes_are_those_of_a_checkpoint(tiny: Path) -> None:
    known = Geometry.of_size("tiny")
    found = Geometry.of_checkpoint(tiny)
    assert dataclasses.replace(found, name=known.name, total=known.total) == known


def test_flop_of_a_pair_are_products_of_all_parameters() -> None:
    geometry = Geometry("x", decoder=100, vision=10, total=200)
    assert geometry.pair_flop(3, 2) == 2 * (100 * 5 + 10 * 4 * 3)


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="size '3b'"):
        Geometry.of_size("3b")
