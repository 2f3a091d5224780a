"""A run learns its data, is repeated bit for bit, and its checkpoint scores as it did."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from minireranker import Document, Profile, Query, Reranker
from minireranker.bench.oracle import quietly
from minireranker.engine.work import Meter
from minireranker.errors import ConfigurationError, MissingDependencyError
from minireranker.models.layout import split_prefix
from minireranker.train import Lora, TrainResult, TrainSettings, read_examples, train
from minireranker.train.batch import PairBatch
from minireranker.train.forward import PairForward
from minireranker.train.reading import BatchReader, packer
from minireranker.train.trained import Trained
from minireranker.train.writing import PairWriter

LEARNING = {
    "dense": {"profile": "dense", "method": "full", "learning_rate": 3e-3},
    "mini": {"profile": "mini", "method": "full", "learning_rate": 3e-3},
    "lora": {"profile": "mini", "learning_rate": 3e-3, "lora": Lora(rank=8, dropout=0.05)},
    "distilled": {"method": "full", "learning_rate": 3e-3, "distill": 1.0},
    "tower": {"profile": "dense", "method": "full", "vision": True, "learning_rate": 3e-3},
}


def settings(model: Path, data: Path, out: Path, **other: Any) -> TrainSettings:
    return TrainSettings(model=model, data=(data,), out=out, progress=False, **other)


def steps_of(result: TrainResult) -> list[dict[str, Any]]:
    lines = result.log.read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


def scores_of(checkpoint: Path, profile: str, data: Path) -> np.ndarray[Any, Any]:
    """Of the pairs of a file, by the engine."""
    reranker = Reranker.from_pretrained(checkpoint, profile=profile, dtype="float32")
    examples = read_examples([data])
    out = []
    for pair in examples.pairs:
        query, document = (examples.contents[at] for at in (pair.query, pair.document))
        given = Document(image=document.images, importances=document.importances)
        out.append(reranker.score(Query(query.texts), [given])[0, 0])
    return np.array(out)


CHANGED = {
    "dense": {"decoder", "lm_head"},
    "mini": {"decoder", "lm_head"},
    "lora": {"decoder"},
    "distilled": {"decoder", "lm_head"},
    "tower": {"decoder", "lm_head", "vision"},
}


def changed_parts(source: Path, out: Path) -> set[str]:
    """Parts of a checkpoint with a tensor that is not the source's."""
    before, after = (load_file(path / "model.safetensors") for path in (source, out))
    names = [split_prefix(name)[1] for name in after if not torch.equal(before[name], after[name])]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("name", list(LEARNING))
def test_eight_pairs_are_learned_by_heart(
    name: str, small: Path, pairs: Path, tmp_path: Path
) -> None:
    teacher = {"teacher": small} if name == "distilled" else {}
    result = train(settings(small, pairs, tmp_path, epochs=30, **LEARNING[name], **teacher))
    losses = [row["loss"] for row in steps_of(result)]
    assert len(losses) == result.steps == 30
    assert losses[-1] == result.loss < 0.01 < losses[0]
    assert not result.skipped
    assert changed_parts(small, result.model) == CHANGED[name]
    found = scores_of(result.model, result.profile, pairs)
    if name == "distilled":
        np.testing.assert_allclose(found, scores_of(small, "dense", pairs), atol=0.2)
    else:
        labels = np.array([pair.label for pair in read_examples([pairs]).pairs])
        np.testing.assert_array_equal(found > 2, labels == 1)
        np.testing.assert_array_equal(found < -2, labels == 0)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_merged_checkpoint_scores_as_the_trained_model(
    method: str, small: Path, pairs: Path, tmp_path: Path
) -> None:
    given = settings(small, pairs, tmp_path, epochs=6, method=method, learning_rate=1e-2)
    result = train(given)
    reranker = Reranker.from_pretrained(small, profile="mini", dtype="float32")
    state = reranker.state
    trained = Trained(state, given)
    found = torch.load(tmp_path / "state.pt", weights_only=True)
    trained.load(found["masters"])
    trained.training(False)
    writer, examples = PairWriter(state.prompt, state.guide(Meter())), read_examples([pairs])
    written = [
        writer.write(examples.contents[p.query], examples.contents[p.document], None)
        for p in examples.pairs
    ]
    with torch.no_grad():
        forward = PairForward(trained.model, state.packer(Meter()), state.band)
        inside = forward(PairBatch.of(written)).numpy()
    outside = scores_of(result.model, "mini", pairs)
    before = scores_of(small, "mini", pairs)
    spread = np.ptp(inside)
    np.testing.assert_allclose(outside, inside, atol=1e-5 * spread)
    assert np.abs(inside - before).max() > 0.1 * np.ptp(before), "it has moved at all"


def test_the_merged_checkpoint_loads_in_transformers(
    small: Path, pairs: Path, tmp_path: Path
) -> None:
    from transformers import Qwen3VLForConditionalGeneration

    given = settings(small, pairs, tmp_path, max_steps=1, learning_rate=0.1, out_dtype="bfloat16")
    result = train(given)
    with quietly():
        model, told = Qwen3VLForConditionalGeneration.from_pretrained(
            result.model, dtype="auto", output_loading_info=True
        )
        source = Qwen3VLForConditionalGeneration.from_pretrained(small, dtype="auto")
    assert str(tmp_path.parent) not in (result.model / "training.json").read_text()
    assert not any(told[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    changed, stayed = [], []
    theirs = source.state_dict()
    for name, tensor in model.state_dict().items():
        assert tensor.dtype is torch.bfloat16
        same = torch.equal(tensor, theirs[name].to(torch.bfloat16))
        (stayed if same else changed).append(name)
    exit_layer = Profile.from_toml(result.model / "profiles" / "mini.toml").exit_layer
    assert exit_layer is not None
    assert all("_proj" in name and "language_model" in name for name in changed)
    assert len(changed) == 7 * exit_layer, "all projections of the layers that run"


def test_seed_and_sharing(small: Path, pairs: Path, tmp_path: Path) -> None:
    """One seed, one run, dropout too; sharing and recomputing change nothing but rounding."""
    base: dict[str, Any] = {"epochs": 2, "learning_rate": 1e-2, "batch_pairs": 4}
    no_dropout = Lora(dropout=0.0)
    variants: dict[str, dict[str, Any]] = {
        "one": {},
        "again": {},
        "other": {"seed": 1},
        "shared": {"lora": no_dropout},
        "alone": {"lora": no_dropout, "share": False},
        "recomputed": {"lora": no_dropout, "recompute": True},
        "gathered": {"lora": no_dropout, "batch_pairs": 2, "accumulate": 2},
    }
    found, tokens = {}, {}
    for name, other in variants.items():
        result = train(settings(small, pairs, tmp_path / name, **(base | other)))
        found[name] = [row["loss"] for row in steps_of(result)]
        tokens[name] = sum(row["tokens"] for row in steps_of(result))
    assert found["one"] == found["again"] != found["other"]
    np.testing.assert_allclose(found["alone"], found["shared"], rtol=1e-4)
    np.testing.assert_allclose(found["recomputed"], found["shared"], rtol=1e-4)
    assert len(found["gathered"]) == len(found["shared"])
    assert tokens["alone"] > 1.5 * tokens["shared"]


@pytest.mark.parametrize(("nbytes", "calls"), [(2**20, 1), (0, 3), (None, 3)])
def test_a_frozen_tower_sees_a_picture_once(
    nbytes: int | None, calls: int, small: Path, pairs: Path
) -> None:
    state = Reranker.from_pretrained(small, profile="mini", dtype="float32").state
    reader, pack = BatchReader(state, read_examples([pairs])), packer(state, frozen_bytes=nbytes)
    seen: list[int] = []
    state.model.vision.register_forward_hook(lambda *given: seen.append(1))
    for _ in range(3):
        PairForward(state.model, pack, state.band)(reader.write(np.arange(8)).batch)
    assert len(seen) == calls


def test_bfloat16_is_trained_through_float32(small: Path, pairs: Path, tmp_path: Path) -> None:
    """Steps too small for bfloat16 add up in the masters, and arrive."""
    given = settings(
        small, pairs, tmp_path, epochs=20, method="full", learning_rate=4e-5, dtype="bfloat16"
    )
    losses = [row["loss"] for row in steps_of(train(given))]
    assert losses[-1] < losses[0] - 0.3
    masters = torch.load(tmp_path / "state.pt", weights_only=True)["masters"]
    assert {master.dtype for master in masters.values()} == {torch.float32}


def test_a_document_that_cannot_be_read_costs_its_own_pairs(
    small: Path, pairs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data.jsonl"
    (tmp_path / "cut.png").write_bytes((pairs.parent / "0.png").read_bytes()[:60])
    rows = [
        {"query": "blue", "positives": ["a blue table"], "negatives": [{"image": "cut.png"}]},
        {"query": "red", "positives": ["a red table"], "negatives": [{"image": "cut.png"}]},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = settings(small, data, tmp_path / "run", keep_ratio=1.0)
    with caplog.at_level(logging.WARNING):
        result = train(given)
    (skipped,) = result.skipped
    assert skipped.origin == f"{data}, line 1"
    assert skipped.pairs == 2
    assert "cut.png" in skipped.reason
    assert steps_of(result)[0]["pairs"] == 2
    assert "data.jsonl, line 1" in caplog.text
    assert "2 pair(s) are skipped" in caplog.text


@pytest.mark.parametrize(("library", "extra"), [("peft", "train"), ("ir_measures", "quality")])
def test_a_library_that_is_missing_is_named_before_anything_is_trained(
    library: str, extra: str, small: Path, pairs: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    method = "lora" if library == "peft" else "full"
    given = settings(small, pairs, tmp_path / "run", method=method, held_out=(pairs,))
    with pytest.raises(MissingDependencyError, match=rf"minireranker\[{extra}\]"):
        train(given)
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_pruning_needs_to_be_told_what_to_keep(small: Path, pairs: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    row = {"query": "blue", "document": {"image": str(pairs.parent / "0.png")}, "label": 1}
    data.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"line 1 is the first.*embedder"):
        train(settings(small, data, tmp_path / "run"))


def test_what_was_held_out_decides_which_weights_are_kept(
    small: Path, pairs: Path, tmp_path: Path
) -> None:
    """Held out are the same pairs with the labels turned: the best is the first look."""
    rows = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()]
    turned = pairs.with_name("turned.jsonl")
    text = "".join(json.dumps(row | {"label": 1 - row["label"]}) + "\n" for row in rows)
    turned.write_text(text, encoding="utf-8")
    given = {"epochs": 18, "method": "full", "learning_rate": 3e-3}
    result = train(settings(small, pairs, tmp_path, held_out=(turned,), evaluate_every=6, **given))
    assert result.best is not None
    lines = [json.loads(line) for line in result.log.read_text().splitlines()]
    looks = [row for row in lines if "held_out_loss" in row]
    assert [row["step"] for row in looks] == [6, 12, 18]
    best = max(looks, key=lambda row: (row["ndcg@10"], -row["held_out_loss"]))
    assert result.best.step == best["step"] < 18
    assert looks[-1]["ndcg@10"] < 0.8, "the opposite was learned"
    found = scores_of(result.model, "mini", pairs)
    labels = np.array([1 - row["label"] for row in rows])
    losses = np.log1p(np.exp(-np.where(labels == 1, found, -found)))
    assert losses.mean() == pytest.approx(result.best.loss, rel=1e-3)
