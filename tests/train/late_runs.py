"""Eight queries, each with a document of its own, for tests of the retrieval side in training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TEXTS = ("a red circle", "two blue stars on green", "nothing at all", "left of a table")
QUERIES = ("red", "blue", "left of", "two", "what is in it", "green", "a chart", "nobody")


def write_lessons(folder: Path) -> Path:
    """JSONL: texts and pictures, a negative each."""
    random = np.random.default_rng(0)
    documents: list[Any] = list(TEXTS)
    for at in range(4):
        pixels = random.integers(0, 256, (64, 64 + 32 * (at % 2), 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{at}.png")
        documents.append({"image": f"{at}.png"})
    rows = [
        {"query": query, "positives": [documents[at]], "negatives": [documents[(at + 3) % 8]]}
        for at, query in enumerate(QUERIES)
    ]
    path = folder / "lessons.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def documents_of(data: Path) -> list[Any]:
    """The positives in order, as an encoder takes them."""
    rows = [json.loads(line)["positives"][0] for line in data.read_text().splitlines()]
    return [
        row if isinstance(row, str) else {"image": str(data.parent / row["image"])} for row in rows
    ]


def logged(out: Path) -> list[dict[str, Any]]:
    """Without what a clock says."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in row if key != "seconds"} for row in rows]


def lines(out: Path) -> int:
    log = out / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.is_file() else 0
