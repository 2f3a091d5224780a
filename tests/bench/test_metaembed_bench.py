"""The benchmark of MetaEmbed's dial: what it counts, and what it refuses to measure."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from minireranker.bench.metaembed import PAPER, MetaEmbedBench, index_bytes, run
from minireranker.errors import ConfigurationError


def test_index_bytes_are_the_papers() -> None:
    for name, row in PAPER.items():
        if row["gib"] is not None:
            vectors = int(name.partition(",")[2])
            ours = index_bytes(100_000, vectors, 3_584, "bfloat16") / 2**30
            assert ours == pytest.approx(row["gib"], abs=0.02)
    assert index_bytes(10, 4, 32, "int8") == 10 * 4 * (32 + 4)


@pytest.mark.parametrize("dtype", ["int8", "bfloat16", "float32"])
def test_every_group_is_scored_and_nothing_is_left(tmp_path: Path, dtype: str) -> None:
    lines: list[str] = []
    bench = MetaEmbedBench(tmp_path, candidates=30, dim=48, dtype=dtype, queries=2, repeats=2)
    result = run(bench, lines.append)
    assert list(result["groups"]) == list(PAPER)
    for name, row in result["groups"].items():
        assert row["index_bytes"] == index_bytes(30, int(name.partition(",")[2]), 48, dtype)
        for way in ("own_index", "prefix_of_64"):
            assert row[way]["seconds"] > 0
            assert len(row[way]["all_seconds"]) == 2
    assert "16,64" in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_too_little_disk_is_known_before_anything_is_written(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(ConfigurationError, match=r"GiB free, the vectors need .*fewer candidates"):
        run(MetaEmbedBench(tmp_path, candidates=free // 64 // 2_048 + 1))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="int8, bfloat16, float32"):
        run(MetaEmbedBench(tmp_path, dtype="int4"))
    with pytest.raises(ConfigurationError, match="candidates = 0"):
        run(MetaEmbedBench(tmp_path, candidates=0))
    with pytest.raises(ConfigurationError, match="no folder"):
        run(MetaEmbedBench(tmp_path / "absent"))
