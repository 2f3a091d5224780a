"""`minireranker profile probe` from the command line: the table, the files, what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from minireranker import Profile
from minireranker.cli import app

SMALL = ["--pairs", "16", "--blocked-pairs", "8", "--step", "6", "--resamples", "20"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    rows = [
        {"query": f"query {query}", "document": f"document {query} {at}", "label": at % 2}
        for query in range(4)
        for at in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["profile", "probe", *SMALL, *arguments])


def test_a_table_and_three_files(tiny: Path, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    result = run(str(pairs), "-m", str(tiny), "--out", str(out), "--dtype", "float32")
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    assert "tiny on pairs: 4 queries, 16 pairs" in words
    assert "nothing to propose but the dense model" in words
    assert "4 queries with relevant and other documents are too few" in words
    assert sorted(path.name for path in out.iterdir()) == ["probe.json", "probe.png", "probed.toml"]
    assert Profile.from_toml(out / "probed.toml").band == (0, 7)
    written = json.loads((out / "probe.json").read_text(encoding="utf-8"))
    assert written["settings"]["step"] == 6
    assert written["choice"]["supported"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--metric", "map"), "metric = 'map': allowed is one of pair_accuracy, auc, ndcg"),
        (("--profile", "none"), "no profile 'none'"),
    ],
)
def test_what_it_does_not_know(
    tiny: Path, pairs: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    result = run(str(pairs), "-m", str(tiny), "--out", str(tmp_path), *options)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_out_is_a_file(tiny: Path, pairs: Path) -> None:
    result = run(str(pairs), "-m", str(tiny), "--out", str(pairs))
    assert result.exit_code == 2
    assert "not a folder" in result.output


def test_without_matplotlib(
    tiny: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run(str(pairs), "-m", str(tiny), "--out", str(tmp_path))
    assert result.exit_code == 2
    assert "minireranker[quality]" in result.output
    result = run(str(pairs), "-m", str(tiny), "--out", str(tmp_path), "--no-figure")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "probe.png").exists()
