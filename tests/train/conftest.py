"""Eight judged pairs of two pictures and four queries, and a checkpoint in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minireranker.models.synth import synthesize

QUERIES = ("a red circle", "blue", "left of", "two")
PICTURES = ("0.png", "1.png")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint in float32; its mini profile keeps half of the visual tokens."""
    return synthesize(tmp_path_factory.mktemp("small") / "small", "tiny", dtype="float32")


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSONL of eight pairs, half of them relevant; importances come along."""
    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    rows = []
    for at, name in enumerate(PICTURES):
        size = (64, 64 + 32 * at)
        pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
        worth = [random.random(size[0] * size[1] // 1024).tolist()]
        document = {"image": name, "importances": worth}
        for number, query in enumerate(QUERIES):
            rows.append({"query": query, "document": document, "label": (at + number) % 2})
    return write_rows(folder / "pairs.jsonl", rows)
