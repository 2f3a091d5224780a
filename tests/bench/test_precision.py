"""The precision benchmark: what it measures, in turns, and against what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minireranker.bench.precision import PrecisionBench
from minireranker.cli import app
from minireranker.errors import ConfigurationError


def test_errors_are_against_float32_and_speed_against_bfloat16(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    command = ["bench", "precision", "--model", str(tiny), "--candidates", "12", "--prefix", "20"]
    result = CliRunner().invoke(app, [*command, "--repeats", "2", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "GFLOP/s" in result.output
    found = json.loads(out.read_text(encoding="utf-8"))
    base, eight = (found["precisions"][name] for name in ("bfloat16", "int8"))
    assert base["speedup"] == 1.0
    assert eight["speedup"] == pytest.approx(base["seconds"] / eight["seconds"])
    assert 0 < base["rms_error_of_spread"] < eight["rms_error_of_spread"]
    assert 0 < eight["rms_error_between_documents"] < eight["rms_error_of_spread"]
    assert 0 < eight["top_half_kept"] <= 1
    assert set(found["product"]) == {"bfloat16", "int8"}
    assert 0 < found["share_of_gemm_rate"] < 1


@pytest.mark.parametrize("dtypes", [(), ("int8", "float32")])
def test_there_has_to_be_something_to_compare(tiny: Path, dtypes: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="name some beside bfloat16 and float32"):
        PrecisionBench(tiny, dtypes=dtypes)
