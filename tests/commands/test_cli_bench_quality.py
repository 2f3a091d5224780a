"""`minireranker bench quality`: the table, the files, what it says of a failure or an interrupt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from minireranker import Reranker
from minireranker.cli import app


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Three queries with three labelled texts each, one text shared."""
    rows = [
        {"query": f"query {at}", "positives": [f"good {at}"], "negatives": ["bad", f"worse {at}"]}
        for at in range(3)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    line = ["bench", "quality", *map(str, arguments), "--resamples", "20"]
    return CliRunner().invoke(app, line)


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_table_and_two_files(tiny: Path, pairs: Path, tmp_path: Path) -> None:
    out, png = tmp_path / "new" / "quality.json", tmp_path / "other" / "quality.png"
    found = run(pairs, "-m", tiny, "--ablate", "mini", "--out", out, "--png", png)
    assert found.exit_code == 0, found.output
    shown = words(found.stdout)
    assert "tiny, pairs: 3 queries, 7 documents, 9 pairs" in shown
    for row in ("dense 7 0-7 1", "mini 4 2-4 1", "mini: exit only 4 0-4 1", "band only 7 2-7 1"):
        assert row in shown
    assert "mini - dense:" in shown
    assert "retriever" not in shown, "a JSONL file has no retriever's order"
    result = json.loads(out.read_text(encoding="utf-8"))
    assert list(result["systems"]) == ["dense", "mini", "mini: exit only", "mini: band only"]
    assert result["machine"]["command"].startswith("minireranker")
    with Image.open(png) as image:
        assert image.format == "PNG"


def test_profiles_embedder_and_less_data(tiny: Path, pairs: Path, tmp_path: Path) -> None:
    profile = tmp_path / "my.toml"
    profile.write_text("exit_layer = 3\n", encoding="utf-8")
    out = tmp_path / "quality.json"
    found = run(
        *(pairs, "-m", tiny, "-p", profile, "-p", "mini", "-e", tiny, "--queries", 2),
        *("--depth", 2, "--seed", 5, "--instruction", "Find it.", "--reference", "mini"),
        *("--out", out),
    )
    assert found.exit_code == 0, found.output
    result = json.loads(out.read_text(encoding="utf-8"))
    assert list(result["systems"]) == ["embedder", "my", "mini"]
    assert (result["workload"]["queries"], result["workload"]["pairs"]) == (2, 4)
    assert result["reference"] == "mini"
    assert result["systems"]["my"]["agreement"]["overlap@10"]["mean"] == 1.0
    assert result["systems"]["mini"]["agreement"] is None


def test_what_failed_is_said_once(tiny: Path, pairs: Path) -> None:
    row = {"query": "query 0", "document": {"image": "gone.png"}, "label": 0}
    pairs.write_text(pairs.read_text("utf-8") + "\n" + json.dumps(row), encoding="utf-8")
    found = run(pairs, "-m", tiny)
    assert found.exit_code == 0, found.output
    assert "dense, mini: 1 document failed, ranked last" in words(found.stdout)
    assert found.stdout.count("gone.png") == 1


def test_an_interrupt_shows_and_writes_what_is_finished(
    tiny: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Reranker.score_candidates

    def interrupted(self: Reranker, *args: Any, **kwargs: Any) -> Any:
        if self.profile.name == "mini":
            raise KeyboardInterrupt
        return score(self, *args, **kwargs)

    monkeypatch.setattr(Reranker, "score_candidates", interrupted)
    out, png = tmp_path / "quality.json", tmp_path / "quality.png"
    found = run(pairs, "-m", tiny, "--ablate", "mini", "--out", out, "--png", png)
    assert found.exit_code == 130
    shown = words(found.stdout)
    assert "mini: interrupted; figures are of 0 of 3 queries" in shown
    assert "interrupted; not begun: mini: exit only, mini: band only" in shown
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["interrupted"]
    assert result["systems"]["dense"]["queries"] == 3
    assert png.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ablate", "huge"), "huge is to be taken apart"),
        (("-p", "huge"), "no profile 'huge'"),
        (("--split", "dev"), "leave the split out"),
        (("--reference", "other"), "reference 'other'"),
        (("--out", "{here}/pairs.jsonl/x.json"), "--out"),
        (("--png", "{here}/pairs.jsonl/x.png"), "--png"),
    ],
)
def test_what_cannot_be_is_known_before_anything_is_measured(
    tiny: Path, pairs: Path, arguments: tuple[str, ...], message: str
) -> None:
    found = run(pairs, "-m", tiny, *(text.format(here=pairs.parent) for text in arguments))
    assert found.exit_code == 2
    assert message in words(found.output)
    assert "1 of" not in found.output


def test_a_model_that_fails_is_named_beside_the_others(
    tiny: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Reranker.score_candidates

    def failing(self: Reranker, *args: Any, **kwargs: Any) -> Any:
        if self.profile.name == "mini":
            raise RuntimeError("out of memory")
        return score(self, *args, **kwargs)

    monkeypatch.setattr(Reranker, "score_candidates", failing)
    out = tmp_path / "quality.json"
    found = run(pairs, "-m", tiny, "--out", out)
    assert found.exit_code == 1
    assert "mini: not measured: out of memory" in words(found.stdout)
    assert list(json.loads(out.read_text(encoding="utf-8"))["systems"]) == ["dense"]


def test_profiles_without_a_model_are_refused(tiny: Path, pairs: Path) -> None:
    found = run(pairs, "-e", tiny, "-p", "mini")
    assert found.exit_code == 2
    assert "profiles are of a model" in words(found.output)


def test_a_row_that_cannot_be_read_is_named(tiny: Path, pairs: Path) -> None:
    pairs.write_text('{"query": "a"}', encoding="utf-8")
    found = run(pairs, "-m", tiny)
    assert found.exit_code == 2
    assert "pairs.jsonl, line 1: no document" in words(found.output)
