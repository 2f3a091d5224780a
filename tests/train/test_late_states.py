"""States that SMART's adapter is trained on: those Smart compares, each computed once."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from minireranker.engine.embedder import Embedder
from minireranker.engine.embedding_model import EmbeddingModel, open_model
from minireranker.retrieval.late_interaction import Smart
from minireranker.train import read_examples
from minireranker.train.late.backbone import Backbone
from minireranker.train.late.lessons import Input, inputs_of
from minireranker.train.late.states import collect

LATE = runpy.run_path(str(Path(__file__).with_name("late_runs.py")))


def opened(checkpoint: Path, dtype: str) -> EmbeddingModel:
    return open_model(
        checkpoint,
        device="cpu",
        dtype=dtype,
        limits=None,
        instruction=None,
        backend="auto",
        progress=False,
    )


def unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


@pytest.mark.parametrize(("dtype", "within"), [("float32", 2e-6), ("bfloat16", 1e-3)])
def test_they_are_what_smart_compares(
    dtype: str, within: float, small: Path, tmp_path: Path
) -> None:
    LATE["write_lessons"](tmp_path)
    rows: list[dict[str, Any]] = [
        {"query": {"text": "what", "image": "0.png"}, "positives": [{"image": "1.png"}]},
        {"query": {"image": "1.png"}, "positives": [{"image": "0.png", "text": "what"}, "red"]},
        {"query": "red", "positives": ["<|im_end|>"], "instruction": "Find it."},
    ]
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = opened(small, dtype)
    backbone = Backbone(model, read_examples([path]))
    items = inputs_of(backbone.examples)
    states = collect(backbone, items, tmp_path / "states", 200)
    assert list(states.extents) == items
    assert not states.failed
    smart = Smart(Embedder(model, 200))
    size = 4 if dtype == "float32" else 2
    assert states.path.stat().st_size == states.rows * 64 * size
    for item in items:
        content = backbone.examples.contents[item.content]
        given = {"text": content.texts, "image": content.images}
        given = {name: value for name, value in given.items() if value}
        if item.is_query:
            wanted = smart.encode_queries(given, instruction=item.instruction)
        else:
            wanted = smart.encode_documents([given]).vectors
        assert wanted.pooled is not None
        assert len(states.kept(item)) == len(wanted.vectors)
        torch.testing.assert_close(unit(states.kept(item)), wanted.vectors, rtol=0, atol=within)
        pooled = unit(states.pooled(item))
        torch.testing.assert_close(pooled, wanted.pooled[0], rtol=0, atol=within)


def test_each_is_computed_once(small: Path, tmp_path: Path) -> None:
    """What was read is not opened again, what was not is."""
    data = LATE["write_lessons"](tmp_path)
    examples = read_examples([data])
    items, place = inputs_of(examples), tmp_path / "states"
    first = collect(Backbone(opened(small, "float32"), examples), items, place, 200)
    kept = {path.name: path.read_bytes() for path in tmp_path.glob("states*")}
    for picture in tmp_path.glob("*.png"):
        picture.rename(picture.with_suffix(".away"))
    again = collect(Backbone(opened(small, "float32"), examples), items, place, 200)
    assert (again.extents, again.failed) == (first.extents, {})
    lines = kept["states.jsonl"].splitlines(keepends=True)
    pictures = [at for at, item in enumerate(items) if examples.contents[item.content].images]
    middle = pictures[1]
    (tmp_path / "states.jsonl").write_bytes(b"".join(lines[: middle + 1]) + b"12")
    later = collect(Backbone(opened(small, "float32"), examples), items, place, 200)
    assert set(later.failed) == {items[at].content for at in pictures[1:]}
    assert items[pictures[0]] in later.extents
    for picture in tmp_path.glob("*.away"):
        picture.rename(picture.with_suffix(".png"))
    (tmp_path / "states.jsonl").write_bytes(b"".join(lines[: middle + 1]))
    collect(Backbone(opened(small, "float32"), examples), items, place, 200)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("states*")} == kept
    other = collect(Backbone(opened(small, "bfloat16"), examples), items, place, 200)
    assert other.rows == first.rows
    assert other.path.stat().st_size * 2 == len(kept["states.bin"])


def test_an_input_with_an_instruction_of_its_own_is_another(small: Path, tmp_path: Path) -> None:
    rows = [{"query": "red", "document": "a", "label": 1, "instruction": name} for name in "xy"]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples = read_examples([path])
    items = inputs_of(examples)
    assert items == [Input(0, True, "x"), Input(1, False), Input(0, True, "y")]
    states = collect(Backbone(opened(small, "float32"), examples), items, tmp_path / "states", 200)
    assert not torch.equal(states.pooled(items[0]), states.pooled(items[2]))
