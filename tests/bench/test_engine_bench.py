"""The engine benchmark on a tiny model: what it counts is checked, what it times only exists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from minireranker import Reranker
from minireranker.bench.engine import EngineBench, arithmetic, draw, run
from minireranker.cli import app


@pytest.fixture(scope="module")
def result(tiny: Path) -> dict[str, Any]:
    return run(EngineBench(tiny, dtype="float32", documents=6, side=128, repeats=1, sample=2))


def test_it_reports_time_work_and_memory(result: dict[str, Any]) -> None:
    mini, dense, memory = result["mini"], result["dense"], result["memory_bytes"]
    assert mini["vision_patches"] == 0, "the timed pass must find its images in the cache"
    assert mini["prefix_tokens"] < 16 + 10, "half of 16 visual tokens, and the labels"
    assert mini["seconds"] > 0
    assert len(dense["seconds_a_pair"]) == 2
    assert result["mini_over_dense"] == pytest.approx(mini["seconds"] / dense["seconds"])
    assert 0 <= result["agreement"]["float32_difference_of_spread"] <= 1e-4
    assert memory["peak"] >= memory["after_loading"] >= memory["before_loading"] > 0
    assert result["machine"]["cpu"]
    json.dumps(result)


def test_arithmetic_is_that_of_the_layers_that_run(tiny: Path) -> None:
    """Against products counted by hand for the tiny mini profile: layers 2 and 3 in the band."""
    reranker = Reranker.from_pretrained(tiny, profile="mini", dtype="float32")
    reranker.index(draw(EngineBench(tiny, documents=4, side=128)))
    hidden, width, kv, mlp = 64, 64, 2 * 32, 160
    documents, suffix = 4, 10
    qkv, rest = hidden * (width + kv), hidden * width + 3 * hidden * mlp
    below = 2 * suffix * (qkv + rest)
    entering = suffix * qkv + documents * suffix * rest
    last = documents * suffix * hidden * kv + documents * (hidden * width + rest)
    products, attention = arithmetic(reranker, documents, suffix)
    assert products == 2 * (below + entering + last)
    assert attention > 0


def test_the_command_writes_json(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "engine.json"
    arguments = ["bench", "engine", "--model", str(tiny), "--dtype", "float32", "--out", str(out)]
    arguments += ["--documents", "3", "--side", "64", "--repeats", "1", "--sample", "1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "reduced / dense" in done.output
    written = json.loads(out.read_text())
    assert written["workload"]["documents"] == 3
    assert written["workload"]["model"] == "tiny"
