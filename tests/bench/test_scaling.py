"""The scaling benchmark: the points it takes, and what a run of it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from minireranker.bench.random_pairs import Point
from minireranker.bench.scaling import AXES, ScalingBench, points, run
from minireranker.cli import app
from minireranker.errors import ConfigurationError


def test_one_number_is_varied_at_a_time() -> None:
    assert points("suffix", 100) == {
        value: Point(suffix=value) for value in AXES["suffix"] if value <= 100
    }
    assert {point.candidates for point in points("queries", 10_000).values()} == {10}


def test_every_point_is_measured_with_the_lengths_asked_for(tiny: Path) -> None:
    result = run(ScalingBench(tiny, dtype="float32", axes=("prefix", "suffix"), most=64, repeats=1))
    assert [row["prefix"] for row in result["axes"]["prefix"]] == [64]
    lengths = [row["suffix"] for row in result["axes"]["suffix"]]
    assert lengths[-1] == 40
    assert lengths == sorted(lengths)
    for row in (*result["axes"]["prefix"], *result["axes"]["suffix"]):
        assert row["seconds_a_pair"] == pytest.approx(row["seconds"] / 100)
    assert result["largest_growth_with_candidates"] is None


def test_an_unknown_axis_is_named(tiny: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no axis height; there are candidates"):
        ScalingBench(tiny, axes=("height",))


def test_the_command_prints_writes_and_draws(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out, png = tmp_path / "s.json", tmp_path / "deep" / "s.png"
    command = ["bench", "scaling", "--model", str(tiny), "--axis", "candidates", "--most", "30"]
    command += ["--repeats", "1", "--dtype", "float32", "--out", str(out), "--png", str(png)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "with more candidates than with fewer" in result.output
    assert '"seconds_a_pair"' in out.read_text(encoding="utf-8")
    assert png.read_bytes().startswith(b"\x89PNG")
