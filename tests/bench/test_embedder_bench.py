"""The embedder benchmark: its gate is real, and its figures belong together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minireranker.bench.embedder import EmbedderBench, compare, draw, run
from minireranker.errors import CheckpointError


def test_it_compares_then_times(tiny: Path) -> None:
    result = run(EmbedderBench(tiny, "float32", 2, 96, 2), lambda line: None)
    assert result["agreement"]["cosine"] >= 0.9999
    assert result["agreement"]["importance_error"] <= 1e-4
    assert len(result["costs"]) == 2
    assert result["seconds_plain"] > 0
    json.dumps(result)


def test_nothing_is_timed_where_the_models_disagree(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minireranker.bench.embedder.COSINE", 1.1)
    with pytest.raises(CheckpointError, match="does not agree"):
        run(EmbedderBench(tiny, "float32", 1, 64, 1), lambda line: None)


def test_the_gate_sees_rounding(tiny: Path) -> None:
    (image,) = draw(EmbedderBench(tiny, documents=1, side=96))
    assert compare(tiny, image, "bfloat16")["importance_error"] > 1e-4, "bfloat16 is not float32"
