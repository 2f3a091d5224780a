"""`minireranker train metaembed` and `train smart`, then an index with what they made."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from minireranker.cli import app
from minireranker.models.synth import synthesize

ROOT = Path(__file__).parents[1]
LATE = runpy.run_path(str(ROOT / "train" / "late_runs.py"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(part) for part in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("model") / "tiny", "tiny", dtype="float32")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(LATE["write_lessons"](tmp_path_factory.mktemp("lessons")))


def test_metaembed_then_index_then_search(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = ("--data", data, "--model", model, "--out", out, "--held-out", data)
    options = ("--max-steps", 2, "--rank", 4, "--batch-queries", 4)
    result = run("train", "metaembed", *given, *options, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["steps"], facts["skipped"], facts["best"]["step"]) == (2, [], 2)
    again = run("train", "metaembed", *given, *options)
    assert f"2 steps, last loss {facts['loss']:.4f}" in again.stdout
    assert "group (16,64): hit@1" in again.stdout
    made = run("index", data.parent, "--vectors", tmp_path / "v", *again.stdout.split()[-4:])
    assert made.exit_code == 0, made.output


def test_smart_makes_an_adapter(model: Path, data: Path, tmp_path: Path) -> None:
    result = run("train", "smart", "-d", data, "-m", model, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "2 steps" in result.stdout
    assert (tmp_path / "run" / "adapter.safetensors").is_file()
    assert "--late smart" in result.stdout
    assert "--adapter" in result.stdout


@pytest.mark.parametrize("kind", ["metaembed", "smart"])
def test_what_is_wrong_is_said(kind: str, model: Path, data: Path, tmp_path: Path) -> None:
    given = ("train", kind, "-d", data, "-m", model, "-o", tmp_path / "run")
    result = run(*given, "--temperature", 0)
    assert result.exit_code == 2
    assert "temperature = 0.0: allowed is a number above 0" in " ".join(result.output.split())
    result = run("train", kind, "-m", model, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "--data" in result.output
