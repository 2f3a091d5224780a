"""`minireranker bench latency`: tables, files, refusals, and an interrupt by the keyboard."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
from typer.testing import CliRunner, Result

from minireranker.bench.latency.result import schema
from minireranker.cli import app
from minireranker.commands.bench_latency import _finish

SMALL = (
    *("--set", "width=64", "--set", "height=64", "--queries", 2, "--documents", 4),
    *("--sample", 2, "--units", 1, "--rounds", 1, "--repeats", 1, "--dtype", "float32"),
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", "latency", *map(str, arguments)])


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def files(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """One measurement without peers, written in all forms."""
    folder = tmp_path_factory.mktemp("out")
    out = ("--out", folder / "new" / "a.json", "--csv", folder / "a.csv")
    page = ("--html", folder / "a.html")
    return run(*SMALL, "--model", tiny, "--peer", "none", *out, *page), folder


def test_a_table_and_what_to_know(files: tuple[Result, Path]) -> None:
    found, _ = files
    assert found.exit_code == 0, found.output
    shown = words(found.stdout)
    for said in (
        "minireranker, in process; coco-t2i: 2 queries x 4 of 4 documents; 4 visual tokens; tiny",
        "p50 p90 p95 p99 mean pairs/s queries/s hits of roof memory",
        "one after the other warm-memory",
        "of the spread from the full-sequence model in float32, on 2 pairs (allowed: 0.0001)",
        "as asked: documents 100 -> 4",
        "2 of 8 pairs (2 candidates of 1 of 2 queries)",
        "ceilings here, now:",
        "energy: ",
    ):
        assert said in shown, said
    for step in ("loading tiny", "indexing 4", "gate: ", "done"):
        assert step in found.stderr, step


def test_three_files(files: tuple[Result, Path]) -> None:
    _, folder = files
    result = json.loads((folder / "new" / "a.json").read_text())
    jsonschema.Draft202012Validator(schema()).validate(result)
    assert result["workload"]["width"] == 64
    assert (folder / "a.csv").read_text().startswith("what,name,mode")
    assert (folder / "a.html").read_text().startswith("<!doctype html>")


def test_a_gate_that_is_not_passed_is_code_1_and_shows_no_time(
    files: tuple[Result, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    result = json.loads((files[1] / "new" / "a.json").read_text())
    bare: dict[str, Any] = {"targets": [], "peers": [], "turns": None}
    gate = result["gate"] | {"passed": False, "difference_of_spread": 0.5}
    with pytest.raises(typer.Exit) as ended:
        _finish(result | bare | {"gate": gate}, None, None, None)
    assert ended.value.exit_code == 1
    shown = capsys.readouterr().out
    assert "no timing: scores differ from the full-sequence model by 0.5" in shown
    assert " ms" not in shown


def test_what_disagrees_or_failed_or_is_absent_is_shown(
    files: tuple[Result, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    result = json.loads((files[1] / "new" / "a.json").read_text())
    untimed: dict[str, Any] = {
        "order": "dense",
        "interpreter": "none",
        "agreement": None,
        "prefixes": None,
        "seconds_a_pair": [],
        "cold_seconds_a_pair": [],
    }
    timed: dict[str, Any] = {
        "name": "transformers: prefix",
        "peer": "transformers",
        "status": "measured",
        "reason": None,
        "interpreter": "this interpreter",
        "agreement": {"difference": 2.5, "agrees": False, "tolerance": 0.1},
        "prefixes": {"computed": 3, "reused": 1},
        "seconds_a_pair": [0.5, 0.6],
        "cold_seconds_a_pair": [0.7],
        "ratio": {"median": 12.34, "low": 11.9, "high": 12.8},
        "scaled_ratio": None,
        "peak_memory": 10**9,
        "break_even_queries": 1200,
    }
    dead = {"name": "dead: it", "status": "failed", "reason": "failed: why\nlast words"}
    absent = {"name": "vllm: score", "status": "absent", "reason": "absent: run this"}
    peers = [untimed | timed, untimed | {"peer": "dead"} | dead, untimed | {"peer": "v"} | absent]
    turns = {"seconds_a_pair": 0.04, "whole_seconds_a_pair": 0.03}
    _finish(result | {"peers": peers, "turns": turns}, None, None, None)
    shown = words(capsys.readouterr().out)
    for said in (
        "550 ms 700 ms 12.3 x (11.9 to 12.8) disagrees by 2.5 1,200 queries 1.00 GB",
        "ours 40 ms 1 30 ms on the whole list",
        "transformers ran in this interpreter",
        "scores are not the unmodified model's (dense); allowed is a difference of 0.1",
        "3 prefixes were computed again",
        "dead: it: failed: why",
        "last words",
        "vllm: score: absent: run this",
    ):
        assert said in shown, said


def test_workloads_are_listed() -> None:
    found = run("--list")
    assert found.exit_code == 0
    for said in ("coco-t2i 10 100 100 300", "reuse-stream 100 999 100 1,302"):
        assert said in words(found.stdout)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-w", "coco"), "workload 'coco': there are coco-t2i"),
        (("--set", "wide=3"), "--set wide=3: give NAME=VALUE"),
        (("--peer", "jina"), "peer 'jina'"),
        (("--mode", "burst"), "mode 'burst'"),
        (("--cache", "hot"), "cache 'hot'"),
        (("--size", "3b"), "size '3b'"),
        (("--csv", "/dev/null/x"), "--csv /dev/null/x"),
        (("--html", "/dev/null/x"), "--html /dev/null/x"),
    ],
)
def test_wrong_input_is_code_2_before_anything_is_measured(
    arguments: tuple[str, ...], reason: str
) -> None:
    found = run(*arguments)
    assert found.exit_code == 2
    assert reason in words(found.stderr)
    assert "loading" not in found.stderr
    assert "Traceback" not in found.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_is_finished(
    tiny: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "a.json"
    arguments = [*SMALL, "--model", tiny, "--peer", "none", "--repeats", 10**6, "--out", out]
    line = [sys.executable, "-P", "-m", "minireranker.cli", "bench", "latency", *arguments]
    process = subprocess.Popen(
        [*map(str, line), "--mode", "single"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stderr is not None
    for said in process.stderr:
        if "one after the other" in said:
            break
    process.send_signal(number)
    shown, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "interrupted while one after the other" in shown
    result = json.loads(out.read_text())
    jsonschema.Draft202012Validator(schema()).validate(result)
    assert not result["finished"]
    assert [run["finished"] for run in result["targets"][0]["runs"]] in ([], [False])
