"""`minireranker bench kernels`: the tables, the JSON, and what it does not know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from minireranker.cli import app
from minireranker.kernels.band_attention import BACKENDS

SMALL = ["--documents", "4", "--suffix", "5", "--heads", "4", "--kv-heads", "2", "--head-dim", "16"]


def run(*arguments: str) -> Result:
    fixed = [*SMALL, "--device", "cpu", "--repeats", "1"]
    return CliRunner().invoke(app, ["bench", "kernels", *fixed, *arguments])


def test_tables_and_a_file(tmp_path: Path) -> None:
    out = tmp_path / "new" / "kernels.json"
    result = run("--prefix", "9, 12", "--queries", "2", "--numbers", "int8", "--out", str(out))
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    for tokens in (5, 1):
        for prefix in (9, 12):
            words = f"4 documents of {prefix}, header 20, 2 x {tokens} of 5 suffix tokens: floor"
            assert words in text
    for name in ("flash", "xformers", "triton", "cuda"):
        assert text.count(f"not timed: {name}: ") == 1
    assert text.count("sdpa") == text.count("packed") == 4
    assert "queued" not in text
    written = json.loads(out.read_text(encoding="utf-8"))
    assert list(written["unavailable"]) == ["flash", "xformers", "triton", "cuda"]
    assert [list(call["backends"]) for call in written["calls"]] == [["sdpa", "packed"]] * 4
    assert written["workload"]["numbers"] == "int8"
    assert set(BACKENDS) == {*written["unavailable"], "sdpa", "packed", "reference"}


def test_named_backends_and_no_last_layer() -> None:
    result = run("--backends", "packed, reference", "--no-last", "--dtype", "float32")
    assert result.exit_code == 0, result.output
    assert "reference" in result.stdout
    assert "not timed" not in result.stdout
    assert result.stdout.count("suffix tokens") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prefix", "9,many"], "--prefix '9,many': give whole numbers"),
        (["--queries", "0"], "queries is (0,); give 1 or more"),
        (["--numbers", "int4"], "numbers 'int4': use one of exact, int8"),
        (["--backends", "fused"], "backend fused: use some of reference"),
        (["--backends", "flash"], "nothing to time: band_attention's backend 'flash' runs on CUDA"),
        (["--cold"], "cold is for CUDA devices"),
    ],
)
def test_what_it_does_not_know(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
