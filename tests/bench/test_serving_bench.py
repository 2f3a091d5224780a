"""The load test at a small size: it offers more than is served, counts everybody, and ends well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from minireranker.bench.serving import ServingBench
from minireranker.bench.serving.workload import Workload
from minireranker.commands.bench_serving import serving
from minireranker.errors import ConfigurationError


def test_a_small_run_counts_every_call_and_ends_with_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    app = typer.Typer()
    app.command()(serving)
    small = ["--clients", "8", "--seconds", "1", "--queue", "128", "--overload", "4"]
    said = CliRunner().invoke(app, [*small, "--out", str(tmp_path / "out.json")])
    assert said.exit_code == 0, said.output
    assert "exit code after SIGTERM" in said.stdout
    result = json.loads((tmp_path / "out.json").read_text())
    capacity, overload = result["capacity"], result["overload"]
    assert set(capacity["outcomes"]) == {"answered"}
    assert set(overload["outcomes"]) == {"answered", "QueueFullError"}
    assert 0 < overload["queue_documents_max"] <= 128
    latency = overload["latency_seconds"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]
    offered = overload["offered_documents_per_second"]
    assert offered == pytest.approx(4 * capacity["documents_per_second"])
    assert result["in_process_documents_per_second"] > 0
    assert result["exit_code"] == 0


def test_requests_are_the_same_for_everybody_and_name_what_is_indexed() -> None:
    workload = Workload(10, 4)
    assert len(workload.texts) == len(set(workload.texts.values())) == 10
    first, again = workload.requests(), workload.requests()
    for _ in range(30):
        query, names = next(first)
        assert (query, names) == next(again)
        assert len(names) == 4
        assert set(names) <= set(workload.texts)


def test_counts_below_one_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="clients = 0"):
        ServingBench(clients=0)
