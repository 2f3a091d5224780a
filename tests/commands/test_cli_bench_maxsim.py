"""`minireranker bench maxsim`: the table, the JSON, and a dtype it does not know."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from minireranker.cli import app

SMALL = ["--documents", "9", "--shortest", "2", "--longest", "5", "--dim", "8", "--repeats", "1"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", "maxsim", *SMALL, *arguments])


def test_a_table_and_a_file(tmp_path: Path) -> None:
    out = tmp_path / "new" / "maxsim.json"
    result = run("--dtypes", "float32, int8", "--out", str(out))
    assert result.exit_code == 0, result.output
    for words in ("of same shape", "float32", "int8", "9 documents of 2-5"):
        assert words in " ".join(result.stdout.split())
    assert "bfloat16" not in result.stdout
    written = json.loads(out.read_text(encoding="utf-8"))
    assert list(written["dtypes"]) == ["float32", "int8"]
    assert written["workload"]["documents"] == 9


def test_a_dtype_it_does_not_know() -> None:
    result = run("--dtypes", "float64")
    assert result.exit_code == 2
    assert "float64: use some of float32" in " ".join(result.output.split())
