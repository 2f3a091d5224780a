"""`minireranker demo` from the command line: what it says, what it leaves behind."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from minireranker.bench.demo import DAMAGED
from minireranker.cli import app

COUNT = 4


def run(out: Path) -> Result:
    result = CliRunner().invoke(app, ["demo", "--out", str(out), "--count", str(COUNT)])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def words(out: Path) -> str:
    """What is on the screen, without the line breaks of a narrow one."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", run(out).stdout).split())


def test_it_says_that_the_weights_are_random(words: str, out: Path) -> None:
    sentence = "The weights of this model are random, so the order of the files means nothing yet"
    assert sentence in words
    assert sentence in (out / "report.html").read_text(encoding="utf-8")


def test_cold_and_warm_times_stand_beside_each_other(words: str) -> None:
    for name, hits, misses in (("cache empty", 0, COUNT), ("filled", COUNT, 0)):
        row = re.search(rf"{name} (?:[\d,]+ ms ){{5}}(\d+) (\d+)", words)
        assert row is not None, words
        assert (int(row[1]), int(row[2])) == (hits, misses)


def test_the_damaged_file_is_named_and_the_others_are_ranked(words: str, out: Path) -> None:
    assert f"ranked {COUNT} files; could not rank 1: document {COUNT // 2} ({DAMAGED})" in words
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == COUNT
    assert DAMAGED in page


def test_the_scores_are_those_of_the_full_sequence(words: str) -> None:
    found = re.search(r"largest difference is (\S+) of the spread", words)
    assert found is not None, words
    assert 0 <= float(found[1]) < 1e-4


def test_the_model_is_made_once(words: str, out: Path) -> None:
    assert "making a tiny model" in words
    weights = out / "random-checkpoint" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert "making a tiny model" not in run(out).stdout
    assert weights.stat().st_mtime_ns == before
    assert f"report: {out / 'report.html'}" in words
