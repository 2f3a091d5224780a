"""Checkpoints and models that many tests share; made once a session, from random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from minireranker import Reranker
from minireranker.bench.oracle import FullSequenceModel
from minireranker.models.synth import synthesize

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint of seven layers, 64 wide; its profile keeps every visual token."""
    path = synthesize(tmp_path_factory.mktemp("checkpoints") / "tiny", "tiny")
    profile = path / "profiles" / "mini.toml"
    profile.write_text(profile.read_text().replace("keep_ratio = 0.5", "keep_ratio = 1.0"))
    return path


@pytest.fixture(scope="session")
def oracle(tiny: Path) -> FullSequenceModel:
    """The full-sequence model over the same weights, float32."""
    return FullSequenceModel(tiny, dtype=torch.float32)


@pytest.fixture(scope="session")
def dense(tiny: Path) -> Reranker:
    """All layers, all tokens, float32."""
    return Reranker.from_pretrained(tiny, profile="dense", dtype="float32")


@pytest.fixture
def mini(tiny: Path) -> Reranker:
    """The reduced profile in float32, with an empty cache."""
    return Reranker.from_pretrained(tiny, profile="mini", dtype="float32")


@pytest.fixture(scope="session")
def picture() -> Callable[..., Pixels]:
    """Random pixels: ``picture(height, width, seed=0)``, uint8 RGB."""

    def draw(height: int, width: int, seed: int = 0) -> Pixels:
        random = np.random.default_rng([seed, height, width])
        return random.integers(0, 256, (height, width, 3), dtype=np.uint8)

    return draw
