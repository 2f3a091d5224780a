"""`minireranker train`, `train mine` and `bench train` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from minireranker.cli import app
from minireranker.models.synth import synthesize


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(part) for part in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("model") / "tiny", "tiny", dtype="float32")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Positives, beside their pictures."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    rows = []
    for at in range(6):
        pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{at}.png")
        rows.append({"query": f"number {at}", "document": {"image": f"{at}.png"}, "label": 1})
    path = folder / "positives.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_mine_then_train_then_rank(model: Path, data: Path, tmp_path: Path) -> None:
    mined = tmp_path / "deep" / "mined.jsonl"
    corpus = ("--corpus", data.parent, "--embedder", model, "--dtype", "float32")
    result = run("train", "mine", data, "--out", mined, *corpus, "--hard", 1, "--random", 1)
    assert result.exit_code == 0, result.output
    assert "6 queries, 6 positives, 12 negatives" in result.stdout
    rows = [json.loads(line) for line in mined.read_text(encoding="utf-8").splitlines()]
    assert all((mined.parent / item["image"]).is_file() for r in rows for item in r["negatives"])
    out = tmp_path / "run"
    given = ("--data", mined, "--model", model, "--out", out, "--embedder", model)
    options = ("--method", "full", "--lr", 1e-3, "--batch-pairs", 6, "--held-out", mined)
    result = run("train", *given, *options, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["profile"], facts["skipped"]) == ("mini", [])
    assert facts["steps"] >= 3, "18 pairs, six a batch"
    assert facts["best"]["step"] == facts["steps"]
    again = run("train", *given, *options)
    assert again.exit_code == 0, again.output
    assert f"{facts['steps']} steps, last loss {facts['loss']:.4f}" in again.stdout
    assert "nDCG@10" in again.stdout
    ranked = run("rank", "number 1", data.parent / "1.png", "--model", out / "model", "-e", model)
    assert ranked.exit_code == 0, ranked.output


def test_an_index_is_mined_too(model: Path, data: Path, tmp_path: Path) -> None:
    vectors = tmp_path / "vectors"
    encoder = ("--late", "pooled", "--embedder", model)
    made = run("index", data.parent, "--vectors", vectors, *encoder)
    assert made.exit_code == 0, made.output
    out = tmp_path / "mined.jsonl"
    result = run("train", "mine", data, "--vectors", vectors, "--out", out, "--depth", 3)
    assert result.exit_code == 0, result.output
    assert len(out.read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train",), "--data is missing"),
        (("train", "--data", "{data}", "--model", "{model}"), "--out is missing"),
        (
            ("train", "-d", "{data}", "-m", "{model}", "-o", "{out}", "--method", "x"),
            "method = 'x': allowed is lora or full",
        ),
        (("train", "-d", "{data}", "-m", "{model}", "-o", "{out}"), "pass embedder=... (--emb"),
        (("train", "mine", "{data}", "--out", "{out}"), "--corpus and --embedder, or --vectors"),
    ],
)
def test_what_is_missing_is_said(
    arguments: tuple[str, ...], said: str, model: Path, data: Path, tmp_path: Path
) -> None:
    places = {"data": data, "model": model, "out": tmp_path / "out"}
    result = run(*(part.format(**places) for part in arguments))
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_bench_train(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "train.json"
    size = ("--side", 96, "--queries", 3, "--repeats", 1)
    result = run("bench", "train", "--model", model, *size, "--out", out)
    assert result.exit_code == 0, result.output
    assert "shared / unshared, mini" in result.stdout
    found = json.loads(out.read_text())
    assert found["workload"]["pairs"] == 3
    assert set(found["features_kept"]["seconds_a_step"]) == {
        f"{form}, {how}" for form in ("dense", "mini") for how in ("shared", "unshared")
    }
    assert max(found["difference_of_spread"].values()) < 1e-4
