"""A small judged dataset on disk, pictures among its documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from minireranker.relevance import Dataset, open_dataset

DOCUMENTS = {
    "red": {"text": "a red circle"},
    "page": {"image": "page.png", "title": "A page"},
    "blue": {"text": "a blue square"},
    "photo": {"image": "photo.png"},
    "green": {"text": "a green triangle"},
}
QUERIES = {
    "words": {"text": "what is red"},
    "other": {"text": "what is blue", "instruction": "Find the colour."},
    "seen": {"image": "photo.png"},
}
RUN = {
    "words": ["blue", "page", "red"],
    "other": ["photo", "blue", "page", "green"],
    "seen": ["page", "photo", "green"],
}
RELEVANT = {"words": "red", "other": "blue", "seen": "photo"}


@pytest.fixture
def quality_folder(tmp_path: Path, picture: Callable[..., object]) -> Path:
    """Three queries (words, words under an instruction of their own, a picture), 10 pairs."""
    folder = tmp_path / "colours"
    folder.mkdir()
    for at, name in enumerate(("page", "photo")):
        Image.fromarray(picture(64, 96, seed=at)).save(folder / f"{name}.png")
    for name, rows in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        lines = [json.dumps({"_id": key, **row}) for key, row in rows.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    judged = [
        f"{query}\t{name}\t{int(name == RELEVANT[query])}"
        for query, listed in RUN.items()
        for name in listed
    ]
    (folder / "qrels.tsv").write_text("\n".join(judged), encoding="utf-8")
    rows = [{"query-id": query, "candidates": listed} for query, listed in RUN.items()]
    lines = [json.dumps(row) for row in rows]
    (folder / "candidates.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def quality_data(quality_folder: Path) -> Dataset:
    """The same, read."""
    return open_dataset(quality_folder)
