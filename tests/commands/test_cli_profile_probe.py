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
        (("--seed", "-1"), "seed = -1: allowed is 0 or more"),
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


def test_a_name_is_neither_markup_nor_mathematics(tiny: Path, pairs: Path, tmp_path: Path) -> None:
    data = tmp_path / "a [red]$b_{ $c.jsonl"
    data.write_bytes(pairs.read_bytes())
    result = run(str(data), "-m", str(tiny), "--out", str(tmp_path / "found"))
    assert result.exit_code == 0, result.output
    assert "tiny on a [red]$b_{ $c: 4 queries" in " ".join(result.stdout.split())
    assert (tmp_path / "found" / "probe.png").exists()


def test_what_cannot_be_written_is_shown(tiny: Path, pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "probed.toml").mkdir()
    result = run(str(pairs), "-m", str(tiny), "--out", str(tmp_path))
    assert result.exit_code == 2
    assert "name a folder that can be written" in " ".join(result.output.split())
    assert "nothing to propose but the dense model" in " ".join(result.stdout.split())


def test_a_split_is_probed_where_there_are_several(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": f"d{at}", "text": f"document {at}"} for at in range(4)]
    queries = [{"_id": f"q{at}", "text": f"query {at}"} for at in range(3)]
    for name, listed in (("corpus", rows), ("queries", queries)):
        text = "".join(json.dumps(row) + "\n" for row in listed)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "qrels" / "train.tsv").write_text("q0\td0\t1\nq1\td1\t1\n", encoding="utf-8")
    (folder / "qrels" / "dev.tsv").write_text("q2\td2\t1\n", encoding="utf-8")
    options = (str(folder), "-m", str(tiny), "--out", str(tmp_path / "found"), "--no-figure")
    result = run(*options)
    assert result.exit_code == 2
    assert "say which with a split" in " ".join(result.output.split())
    result = run(*options, "--split", "train")
    assert result.exit_code == 0, result.output
    assert "tiny on beir: 2 queries, 8 pairs" in " ".join(result.stdout.split())
