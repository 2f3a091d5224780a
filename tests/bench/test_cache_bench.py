"""The benchmarks of the cache: what they compare, and that they refuse what they cannot measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minireranker.bench import cache as cache_bench
from minireranker.bench import codecs
from minireranker.cache import CODECS
from minireranker.errors import ConfigurationError


def test_every_codec_is_compared_with_the_exact_scores(tiny: Path) -> None:
    bench = codecs.CodecBench(tiny, dtype="float32", queries=5, documents=12, side=128)
    result = codecs.run(bench)
    rows = result["codecs"]
    assert tuple(rows) == CODECS
    assert rows["exact"]["largest_delta"] == 0
    assert rows["exact"]["same_top"] == rows["exact"]["top_overlap"] == 1
    deltas = [rows[name]["of_spread"] for name in ("exact", "bf16", "int8", "fp8", "int4")]
    assert deltas == sorted(deltas)
    assert len(set(deltas)) == len(deltas)
    sizes = [rows[name]["bytes_a_token"] for name in ("exact", "bf16", "int8", "int4")]
    assert sizes == sorted(sizes, reverse=True)
    assert result["spread"] > 0


def test_differences_are_counted_by_query() -> None:
    exact = np.array([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]], np.float32)
    found = exact.copy()
    found[1, 2] = 3.5
    got = codecs.compared(exact, found, top=2)
    assert got["largest_delta"] == 1.5
    assert got["top_overlap"] == 1.0, "the same two, in another order"
    assert got["same_first"] == got["same_top"] == 0.5
    assert got["of_spread"] == pytest.approx(1.5 / np.sqrt(8) / exact[0].std())


def test_cold_and_warm_reads_of_what_was_written(tmp_path: Path) -> None:
    bench = cache_bench.CacheBench(tmp_path, tokens=5, entries=4, repeats=2)
    result = cache_bench.run(bench)
    assert len(result["raw_seconds"]) == len(result["cold_seconds"]) == 2
    assert result["bytes"] > 4 * 5 * 16 * 1024
    assert result["cold_over_raw"] > 0
    assert result["warm_decode_seconds"] > 0
    assert list(tmp_path.iterdir()) == [], "it cleans up"


def test_a_size_without_geometry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="2b, 4b, 8b"):
        cache_bench.run(cache_bench.CacheBench(tmp_path, size="tiny"))
