"""A checkpoint rewritten: everything but the changes is as it was, in shards too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from minireranker import Profile, Reranker
from minireranker.errors import ConfigurationError
from minireranker.models.checkpoint import Checkpoint
from minireranker.models.synth import synthesize
from minireranker.train.export import RECORD, write_merged

NORM = "decoder.layers.1.input_layernorm.weight"
PUBLISHED = "model.language_model.layers.1.input_layernorm.weight"
PROFILE = Profile("own", 5, (2, 5), 1.0)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In two files with an index, bfloat16, and what else lies in a downloaded directory."""
    path = synthesize(tmp_path_factory.mktemp("sharded") / "source", "tiny")
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2]}
    parts["model-00002-of-00002.safetensors"] = names[1::2]
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, path / file, metadata={"format": "pt"})
    index = {
        "metadata": {"total_size": sum(t.nbytes for t in tensors.values())},
        "weight_map": {name: file for file, held in parts.items() for name in held},
    }
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    (path / "README.md").write_text("about the source")
    return path


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    return {k: v for file in path.glob("*.safetensors") for k, v in load_file(file).items()}


def test_one_tensor_changes(sharded: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    change = {NORM: lambda source: source.float() + 1}
    write_merged(sharded, out, change, PROFILE, progress=False)
    before, after = tensors_of(sharded), tensors_of(out)
    assert list(before) == list(after)
    for name, tensor in after.items():
        wanted = before[name] + 1 if name == PUBLISHED else before[name]
        assert torch.equal(tensor, wanted), name
        assert tensor.dtype is torch.bfloat16
    copied = {path.name for path in out.iterdir()}
    assert copied == {path.name for path in sharded.iterdir()} - {"README.md"} | {RECORD}
    for name in ("config.json", "tokenizer.json", "model.safetensors.index.json"):
        assert json.loads((out / name).read_text()) == json.loads((sharded / name).read_text())
    assert Reranker.from_pretrained(out, profile="own").profile.band == (2, 5)
    assert Checkpoint.open(out).digest() != Checkpoint.open(sharded).digest()
    (out / "model-00001-of-00002.safetensors").unlink()
    write_merged(sharded, out, {}, PROFILE, progress=False)
    assert all(torch.equal(t, before[name]) for name, t in tensors_of(out).items())
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_another_dtype(sharded: Path, tmp_path: Path) -> None:
    out = write_merged(sharded, tmp_path / "model", {}, PROFILE, dtype="float32", progress=False)
    before, after = tensors_of(sharded), tensors_of(out)
    assert all(torch.equal(t, before[name].float()) for name, t in after.items())
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in after.values())
    config = json.loads((out / "config.json").read_text())
    assert {config["dtype"], *(config[f"{p}_config"]["dtype"] for p in ("text", "vision"))} == {
        "float32"
    }
    assert Checkpoint.open(out).config.dtype == "float32"


def test_a_tied_head_is_one_tensor_after_training_too(tmp_path: Path) -> None:
    """Full training moves the table, and the head with it."""
    from minireranker.train import TrainSettings, train

    source = synthesize(tmp_path / "tied", "tiny", dtype="float32", tie_word_embeddings=True)
    data = tmp_path / "data.jsonl"
    rows = [{"query": "red", "positives": ["red"], "negatives": ["blue", "green"]}]
    data.write_text(json.dumps(rows[0]))
    result = train(
        TrainSettings(
            source,
            (data,),
            tmp_path / "run",
            epochs=40,
            method="full",
            learning_rate=5e-3,
            progress=False,
        )
    )
    assert result.loss < 0.01
    assert "lm_head.weight" not in tensors_of(result.model)
    scores = Reranker.from_pretrained(result.model, dtype="float32").score(
        "red", ["red", "blue", "green"]
    )
    assert scores[0, 0] > 3 > -3 > scores[0, 1:].max()


def test_what_training_did_not_write_stays(sharded: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("keep")
    with pytest.raises(ConfigurationError, match="not written by training"):
        write_merged(sharded, tmp_path / "model", {}, PROFILE, progress=False)
    assert (tmp_path / "model" / "mine.txt").read_text() == "keep"
