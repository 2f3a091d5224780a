"""The engine benchmark on a tiny model: what it counts is checked, what it times only exists."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from minireranker import Profile, Reranker
from minireranker.bench.arithmetic import arithmetic
from minireranker.bench.engine import EngineBench, draw, run
from minireranker.cli import app
from minireranker.configs import Limits
from minireranker.errors import ConfigurationError

SIDE = 120
"""Off the grid of 32 pixels: the images are resized to 128 x 128, which is 16 visual tokens."""
PREFIX = 8 + 2 + 6
"""Half of them, their two borders, a label of five tokens and a newline."""


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def result(
    tiny: Path, lines: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    half = tmp_path_factory.mktemp("profile") / "half.toml"
    half.write_text("exit_layer = 4\nband = [2, 4]\nkeep_ratio = 0.5\n")
    bench = EngineBench(
        tiny, profile=str(half), dtype="float32", documents=6, side=SIDE, repeats=1, sample=2
    )
    return run(bench, lines.append)


def test_it_reports_time_work_and_agreement(result: dict[str, Any]) -> None:
    mini, dense = result["mini"], result["dense"]
    assert mini["vision_patches"] == 0, "the timed pass must find its images in the cache"
    assert mini["index_vision_patches"] == 6 * 16 * 4
    assert mini["prefix_tokens"] == PREFIX
    assert mini["seconds"] > 0
    assert len(dense["seconds_a_pair"]) == 2
    assert result["mini_over_dense"] == pytest.approx(mini["seconds"] / dense["seconds"])
    assert 0 <= result["agreement"]["float32_difference_of_spread"] <= 1e-4
    assert result["workload"]["documents"] == 6
    assert result["machine"]["cpu"]
    json.dumps(result)


def test_memory_is_in_bytes_and_adds_up(result: dict[str, Any]) -> None:
    memory = result["memory_bytes"]
    kv, kept = PREFIX * (2 * 32) * 2 * 4, 8 * 4
    assert memory["cache"] == 6 * (kv + kept), "K, V of two layers in float32, and kept tokens"
    assert 2**28 > memory["weights"] > 2**20
    assert memory["before_loading"] > 2**26, "torch alone is larger"
    parts = memory["weights"] + memory["cache"] + memory["beyond_weights_and_cache"]
    assert memory["peak"] == parts


def test_it_says_what_it_is_at(result: dict[str, Any], lines: list[str]) -> None:
    assert result
    for step in ("loading tiny", "indexing 6", "ranking", "scoring 2", "dense pair 2 of 2"):
        assert any(line.startswith(step) for line in lines), step


def indexed(tiny: Path, **reductions: Any) -> tuple[Reranker, int]:
    """A reranker with four images in its cache, and the tokens of its header."""
    profile = Profile(exit_layer=4, keep_ratio=0.5, **reductions)
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32")
    reranker.index(draw(EngineBench(tiny, documents=4, side=SIDE), profile.limits))
    return reranker, len(reranker.state.prompt.header(profile.template.instruction, False))


def test_arithmetic_is_that_of_the_layers_that_run(tiny: Path) -> None:
    """Against products counted by hand: four layers, the last two of them the band."""
    reranker, header = indexed(tiny, band=(2, 4))
    hidden, width, kv, mlp = 64, 64, 2 * 32, 160
    documents, suffix = 4, 10
    qkv, rest = hidden * (width + kv), hidden * width + 3 * hidden * mlp
    below = 2 * suffix * (qkv + rest)
    entering = suffix * qkv + documents * suffix * rest
    last = documents * suffix * hidden * kv + documents * (hidden * width + rest)
    products, attention = arithmetic(reranker, documents, suffix, PREFIX)
    assert products == 2 * (below + entering + last)

    own = 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 10
    below = 2 * (10 * header + own)
    entering = 4 * (10 * (header + PREFIX) + own)
    last = 4 * (header + PREFIX + 10)
    assert attention == 2 * 2 * width * (below + entering + last)


def test_layers_outside_the_band_do_not_see_the_document(tiny: Path) -> None:
    reranker, header = indexed(tiny, band=(1, 2))
    own = 55
    below = 10 * header + own
    band, after = 4 * (10 * (header + PREFIX) + own), 4 * (10 * header + own)
    last = 4 * (header + 10)
    assert arithmetic(reranker, 4, 10, PREFIX)[1] == 2 * 2 * 64 * (below + band + after + last)


def test_with_an_empty_band_attention_is_over_the_header_and_itself(tiny: Path) -> None:
    reranker, header = indexed(tiny, band=(2, 2))
    below, last = 3 * (10 * header + 55), 4 * (header + 10)
    assert arithmetic(reranker, 4, 10, PREFIX)[1] == 2 * 2 * 64 * (below + last)


@pytest.mark.parametrize(
    ("side", "limits", "grid"),
    [
        (120, {}, (4, 4)),
        (64, {}, (2, 2)),
        (10, {}, (2, 2)),
        (256, {"max_pixels": 100 * 100, "min_pixels": 1024}, (3, 3)),
    ],
)
def test_there_is_an_importance_for_every_visual_token(
    side: int, limits: dict[str, int], grid: tuple[int, int]
) -> None:
    bench = EngineBench(Path("unused"), documents=2, side=side)
    for document in draw(bench, Limits(**limits)):
        assert document.image.size == (side, side)
        assert document.importances.shape == grid


@pytest.mark.parametrize("name", ["documents", "side", "repeats", "sample"])
def test_too_small_a_number_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name} = 0: allowed is [12] or more"):
        EngineBench(Path("unused"), **{name: 0})


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        ("exit_layer = 4\nband = [2, 2]", "attention to an image is over nothing"),
        ("[limits]\nmin_side = 200", r"3 images could not be indexed, .*document 0: .*min_side"),
        ('[template]\norder = "query-first"', "puts the query first"),
    ],
)
def test_what_cannot_be_measured_is_said(
    tiny: Path, tmp_path: Path, toml: str, reason: str
) -> None:
    (tmp_path / "p.toml").write_text(toml)
    profile = str(tmp_path / "p.toml")
    with pytest.raises(ConfigurationError, match=reason):
        run(EngineBench(tiny, profile, "float32", documents=3, side=64, repeats=1, sample=1))


def test_equal_scores_are_no_measure_of_errors(tiny: Path, tmp_path: Path) -> None:
    """A head whose rows for yes and no are the same scores everything 0."""
    blind = shutil.copytree(tiny, tmp_path / "blind")
    tokenizer = Reranker.from_pretrained(tiny).state.prompt.tokenizer
    weights = load_file(blind / "model.safetensors")
    weights["lm_head.weight"][tokenizer.yes] = weights["lm_head.weight"][tokenizer.no]
    save_file(weights, blind / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigurationError, match="all images have the same score"):
        run(EngineBench(blind, dtype="float32", documents=3, side=64, repeats=1, sample=1))


def command(tiny: Path, *options: object) -> Any:
    arguments = ["bench", "engine", "--model", tiny, "--documents", 3, "--side", 64]
    arguments += ["--repeats", 1, "--sample", 1, *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_writes_json(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "engine.json"
    done = command(tiny, "--dtype", "auto", "--out", out)
    assert done.exit_code == 0, done.output
    assert "reduced / dense" in done.stdout
    assert "dense pair 1 of 1" in done.stderr
    written = json.loads(out.read_text())
    assert written["workload"]["documents"] == 3
    assert written["workload"]["model"] == "tiny"
    taken = Reranker.from_pretrained(tiny, device="cpu", dtype="auto").state.model.dtype
    assert getattr(torch, written["workload"]["dtype"]) == taken


def test_a_place_that_cannot_be_written_is_known_before_measuring(
    tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "a.json", tmp_path / "file" / "b" / "a.json"):
        done = command(tiny, "--out", out)
        assert done.exit_code == 2
        assert "--out" in done.stderr
        assert "loading" not in done.stderr
        assert "Traceback" not in done.output
