"""One small measurement with two ways of a real peer, made once; and what makes others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minireranker.bench.latency import LatencyBench, LatencyWorkload, run
from minireranker.bench.latency.modes import Mode
from minireranker.bench.latency.plan import Asked

LOAD = LatencyWorkload(
    "small", queries=3, documents=6, candidates=5, width=96, height=64, query_words=5
)
ASKED = Asked(sample=2, units=2, rounds=2, repeats=2)
MODES = (Mode("offline"), Mode("single"), Mode("closed", 2), Mode("open", 2))


@pytest.fixture(scope="session")
def half(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A profile that prunes."""
    path = tmp_path_factory.mktemp("profiles") / "half.toml"
    path.write_text("exit_layer = 4\nband = [2, 4]\nkeep_ratio = 0.5\n")
    return str(path)


@pytest.fixture
def measured(tiny: Path, half: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``measured(load, say=..., **fields of LatencyBench)``: a result, without peers."""

    def measure(
        load: LatencyWorkload = LOAD, say: Callable[[str], None] = lambda line: None, **fields: Any
    ) -> dict[str, Any]:
        settings = {"model": tiny, "profile": half, "dtype": "float32", "peers": ("none",)}
        return run(LatencyBench(load=load, **{"asked": ASKED, **settings, **fields}), tmp_path, say)

    return measure


@pytest.fixture(scope="session")
def result(tiny: Path, half: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All modes, and the transformers peer one by one and with kept prefixes."""
    peers = ("transformers:pairs", "transformers:prefix")
    bench = LatencyBench(tiny, LOAD, half, "float32", modes=MODES, peers=peers, asked=ASKED)
    return run(bench, tmp_path_factory.mktemp("latency"))
