"""Room for the prefixes of a sample: enough for what they really have, and no number of luck."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from minireranker import Reranker
from minireranker.bench.arithmetic import prefix_tokens
from minireranker.bench.latency.contenders import Contender
from minireranker.bench.latency.drawing import draw_material
from minireranker.bench.latency.geometry import Geometry
from minireranker.bench.latency.in_process import InProcess
from minireranker.bench.latency.plan import Asked, Plan, make_plan
from minireranker.bench.latency.prefixes import kept_bytes, prefix_tokens_at_most
from minireranker.bench.latency.workload import LatencyWorkload, workloads

from .conftest import LOAD

WHOLE = Contender("t", "pairs", "dense-query-first")
KEPT = Contender("t", "prefix", "dense")
TOGETHER = Contender("t", "prefix-batched", "dense")
PAGES = workloads()["visual-documents"]
BLOCKS = 1_024


def plan(load: LatencyWorkload) -> Plan:
    asked = Asked(scale=1.0, sample=4, units=3)
    return make_plan(load, Geometry.of_size("2b"), asked, threads=2, gpu=False)


@pytest.mark.parametrize(
    ("size", "token"),
    [("2b", 28 * 2 * 8 * 128), ("4b", 36 * 2 * 8 * 128), ("tiny", 7 * 2 * 2 * 16)],
)
def test_numbers_of_a_token(size: str, token: int) -> None:
    assert Geometry.of_size(size).kept_numbers == token


def test_a_checkpoint_has_what_its_size_says(tiny: Path) -> None:
    assert Geometry.of_checkpoint(tiny).kept_numbers == Geometry.of_size("tiny").kept_numbers


def test_every_way_that_keeps_prefixes_gets_room_for_all_of_the_sample() -> None:
    model, token = Geometry.of_size("2b"), 114_688
    page = prefix_tokens_at_most(PAGES)
    pages = 12 * page
    assert pages > 12 * PAGES.visual_tokens
    one, two = (
        kept_bytes(contenders, plan(PAGES), model, "bfloat16")["t"]
        for contenders in ([WHOLE, KEPT], [WHOLE, KEPT, TOGETHER])
    )
    assert one == token * (pages + page + BLOCKS)
    assert two == token * (2 * pages + page + BLOCKS)
    assert kept_bytes([KEPT], plan(PAGES), model, "float32")["t"] == 2 * one


def test_who_keeps_nothing_or_is_absent_gets_none() -> None:
    gone = dataclasses.replace(KEPT, peer="u", absence="absent")
    found = kept_bytes([WHOLE, gone], plan(PAGES), Geometry.of_size("2b"), "bfloat16")
    assert found == {"t": 0}


def test_captions_share_the_picture_that_asks() -> None:
    load = workloads()["coco-i2t"]
    found = kept_bytes([KEPT], plan(load), Geometry.of_size("2b"), "bfloat16")["t"]
    assert found == 114_688 * (4 * prefix_tokens_at_most(load) + BLOCKS)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"document_words": 40},
        {"document": "video", "frames": 8, "document_words": 3},
        {"document": "text", "document_words": 60},
    ],
)
def test_no_prefix_is_longer_than_was_counted(
    tiny: Path, tmp_path: Path, fields: dict[str, object]
) -> None:
    """By the engine's own entries, nothing pruned; a short vocabulary has the longest words."""
    load = dataclasses.replace(LOAD, documents=2, queries=1, **fields)
    reranker = Reranker.from_pretrained(tiny, profile="mini", dtype="float32")
    target = InProcess(reranker)
    limits = reranker.profile.limits
    target.index(draw_material(load, tmp_path, limits, importances=False).documents)
    tokens = prefix_tokens(reranker)
    assert load.visual_tokens * (load.document != "text") < tokens
    assert tokens <= prefix_tokens_at_most(load)
    target.close()
