"""`minireranker demo` from the command line: what it says, what it leaves behind."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minireranker.bench.demo import DAMAGED
from minireranker.cli import app

COUNT = 24


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def words(out: Path) -> str:
    """What is on the screen, without the line breaks of a narrow one."""
    result = CliRunner().invoke(
        app, ["demo", "--out", str(out), "--count", str(COUNT)], env={"COLUMNS": "160"}
    )
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


@pytest.fixture(scope="module")
def page(words: str, out: Path) -> str:
    return (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", ["dense", "mini"])
def test_what_fits_comes_first_in_both_forms(words: str, form: str) -> None:
    found = re.search(
        rf"reranker, {form} (\d+) ([\d,]+) ms ([\d,]+) ms (\d+(?:, \d+)*) (?:reranker|not)", words
    )
    assert found is not None, words
    assert int(found[1]) == COUNT // 2
    places = [int(place) for place in found[4].split(", ")]
    assert places == list(range(1, len(places) + 1))


def test_the_damaged_picture_is_named_and_the_others_are_retrieved(words: str, page: str) -> None:
    assert re.search(rf"embedder {COUNT} ", words), words
    assert f"not ranked: document {COUNT} ({DAMAGED})" in words
    assert DAMAGED in page


def test_the_report_shows_both_forms_and_frames_what_fits(words: str, page: str) -> None:
    assert page.count("data:image/jpeg;base64,") == 2 * (COUNT // 2)
    assert page.count('class="card first marked"') == 2
    assert "<h2>dense</h2>" in page
    assert "<h2>mini</h2>" in page


def test_the_scores_are_those_of_the_full_sequence(words: str) -> None:
    found = re.search(r"largest difference is (\S+) of the spread", words)
    assert found is not None, words
    assert 0 <= float(found[1]) < 1e-4


def test_it_can_be_run_again_in_the_same_folder(words: str, out: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--out", str(out), "--count", "8", "--seed", "3"])
    assert result.exit_code == 0, result.output
    assert f"report: {out / 'report.html'}" in " ".join(result.stdout.split())
