"""`minireranker bench compare`: the table, the exit code, what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from minireranker.cli import app


def result(factor: float, **workload: Any) -> dict[str, Any]:
    """As much of a result as is compared; four samples of one mode."""
    run = {"mode": "single", "label": "one after the other", "cache": "warm-memory"}
    sizes = (
        *("queries", "candidates", "documents", "query", "document", "visual_tokens", "frames"),
        *("query_words", "document_words", "seed"),
    )
    return {
        "version": 1,
        "finished": True,
        "machine": {"cpu": "a cpu", "gpu": None},
        "device": {"dtype": "float32", "threads": 2},
        "model": {"name": "tiny"},
        "settings": {"sample": 2},
        "workload": {"name": "x", **dict.fromkeys(sizes, 1), **workload},
        "targets": [
            {
                "name": "ours",
                "index": None,
                "runs": [run | {"latencies": [factor * each for each in (1.0, 1.01, 1.01, 1.02)]}],
            }
        ],
        "turns": None,
        "peers": [],
    }


def compare(tmp_path: Path, one: dict[str, Any], two: dict[str, Any], *options: str) -> Result:
    paths = [tmp_path / name for name in ("one.json", "two.json")]
    for path, each in zip(paths, (one, two), strict=True):
        path.write_text(json.dumps(each))
    return CliRunner().invoke(app, ["bench", "compare", *map(str, paths), *options])


@pytest.mark.parametrize(
    ("factor", "options", "code", "said"),
    [
        (1.5, (), 0, "slower"),
        (1.5, ("--fail-above", "10"), 1, "slower by more than 10 %"),
        (1.5, ("--fail-above", "60"), 0, "slower"),
        (0.5, ("--fail-above", "0"), 0, "faster"),
        (1.0, ("--fail-above", "0"), 0, "1.000"),
    ],
)
def test_it_fails_where_the_whole_interval_is_slower(
    tmp_path: Path, factor: float, options: tuple[str, ...], code: int, said: str
) -> None:
    found = compare(tmp_path, result(1.0), result(factor), *options)
    assert found.exit_code == code, found.output
    assert said in found.stdout
    assert f"{factor:.3f}" in found.stdout
    assert "ours: one after the other, warm-memory" in found.stdout


def test_a_peer_that_is_slower_fails_nothing(tmp_path: Path) -> None:
    one, two = result(1.0), result(1.0)
    row = {"name": "them: pairs", "peer": "them", "versions": {}}
    one["peers"] = [row | {"seconds_a_pair": [1.0, 1.01, 1.01, 1.02]}]
    two["peers"] = [row | {"seconds_a_pair": [9.0, 9.01, 9.01, 9.02]}]
    found = compare(tmp_path, one, two, "--fail-above", "5")
    assert found.exit_code == 0, found.output
    assert "them: pairs" in found.stdout
    assert "slower by more" not in found.stdout


def test_what_differs_is_said(tmp_path: Path) -> None:
    found = compare(tmp_path, result(1.0), result(1.0, candidates=2))
    assert found.exit_code == 0
    assert "candidates differs: 1 and 2" in found.stdout


def test_results_without_a_common_figure_are_refused(tmp_path: Path) -> None:
    other = copy.deepcopy(result(1.0))
    other["targets"][0]["name"] = "theirs"
    found = compare(tmp_path, result(1.0), other)
    assert found.exit_code == 2
    assert "no figure in common" in found.stderr


def test_another_file_is_refused(tmp_path: Path) -> None:
    found = compare(tmp_path, result(1.0), {"version": 1})
    assert found.exit_code == 2
    assert "is no result of bench latency" in " ".join(found.stderr.split())
