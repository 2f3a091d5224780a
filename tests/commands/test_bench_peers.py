"""`minireranker bench peers`: what there is, and a name nobody has."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from minireranker.bench.peers import available
from minireranker.cli import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", "peers", *arguments])


def test_the_list_has_every_peer_and_its_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = run("list")
    assert result.exit_code == 0, result.output
    for spec in available().values():
        (line,) = (line for line in result.stdout.splitlines() if line.split()[0] == spec.name)
        assert ", ".join(spec.methods) in line
        assert (spec.absence or "environment") in line


def test_an_unknown_name_changes_nothing() -> None:
    result = run("install", "vllm", "tgi")
    assert result.exit_code == 2
    words = " ".join(result.output.split())
    assert "no peer 'tgi': use some of transformers, sentence-transformers, vllm" in words
    assert "vllm:" not in words
