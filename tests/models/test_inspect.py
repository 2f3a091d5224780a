"""What ``checkpoint inspect`` finds, and the two commands as a user calls them."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from minireranker.commands.checkpoint import app
from minireranker.errors import CheckpointError, ConfigurationError
from minireranker.models.checkpoint import Checkpoint
from minireranker.models.inspect import inspect_checkpoint
from minireranker.models.synth import synthesize


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "copy")


def rewrite(directory, change):
    path = directory / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_sound_checkpoint(tiny):
    found = inspect_checkpoint(tiny)
    assert found.problems == found.missing == found.unexpected == found.misshaped == ()
    stored = load_file(tiny / "model.safetensors")
    assert sum(found.parameters.values()) == sum(tensor.numel() for tensor in stored.values())
    assert found.parameters["embedding"] == found.parameters["head"] == 1856 * 64
    assert found.nbytes == 2 * sum(found.parameters.values())
    assert found.dtypes == {"BF16": len(stored)}
    assert found.shards == {"model.safetensors": (tiny / "model.safetensors").stat().st_size}
    assert found.prefixes == ("lm_head.", "model.language_model.", "model.visual.")
    assert found.tokens["<|image_pad|>"] == found.config.image_token_id
    assert None not in found.tokens.values()
    assert found.digest == Checkpoint.open(tiny).digest()


def test_profiles_that_fit_and_why_others_do_not(tiny):
    profiles = inspect_checkpoint(tiny).profiles
    assert profiles["mini"] is profiles["dense"] is None
    assert "layers = 28: allowed is 7" in profiles["mini-2b"]


def test_a_profile_of_the_checkpoint_that_cannot_be_read(copy):
    (copy / "profiles" / "mini.toml").write_text("exit_layer = ")
    with pytest.raises(ConfigurationError, match=r"mini\.toml"):
        inspect_checkpoint(copy)


def test_weights_that_do_not_match_the_config(copy):
    def damage(tensors):
        del tensors["model.language_model.layers.6.mlp.up_proj.weight"]
        tensors["model.visual.extra.weight"] = torch.ones(2)
        tensors["model.visual.merger.norm.weight"] = torch.ones(3)
        tensors["stray"] = torch.ones(1)

    rewrite(copy, damage)
    found = inspect_checkpoint(copy)
    assert found.missing == ("decoder.layers.6.mlp.up_proj.weight",)
    assert set(found.unexpected) == {"vision.extra.weight", "stray"}
    assert found.misshaped == ("vision.merger.norm.weight [3] instead of [32]",)
    assert "" in found.prefixes
    [problem] = found.problems
    assert re.search(r"1 missing: .*; 2 unexpected: .*; 1 of another shape: ", problem)


def test_a_tied_head_may_be_written_out_but_need_not(tmp_path):
    directory = synthesize(tmp_path / "tied", tie_word_embeddings=True)
    found = inspect_checkpoint(directory)
    assert found.parameters["head"] == 0
    assert not found.problems

    def write_head(tensors):
        tensors["lm_head.weight"] = tensors["model.language_model.embed_tokens.weight"].clone()

    rewrite(directory, write_head)
    assert not inspect_checkpoint(directory).problems


def test_an_embedding_model_lacks_its_head(copy):
    rewrite(copy, lambda tensors: tensors.pop("lm_head.weight"))
    assert inspect_checkpoint(copy).missing == ("lm_head.weight",)


def test_a_tokenizer_that_is_not_there_or_not_the_right_one(copy):
    path = copy / "tokenizer.json"
    parts = json.loads(path.read_text())
    for token in parts["added_tokens"]:
        token["id"] += token["content"] == "<|image_pad|>"
    del parts["model"]["vocab"]["yes"]
    path.write_text(json.dumps(parts))
    absent, other = inspect_checkpoint(copy).problems
    assert "no single token for yes" in absent
    assert re.search(r"image_token_id = (\d+), the tokenizer has <\|image_pad\|> = \d+", other)

    path.unlink()
    found = inspect_checkpoint(copy)
    assert set(found.tokens.values()) == {None}
    assert "neither tokenizer.json nor" in found.problems[0]


def test_command_inspect_prints_tables_and_json(tiny):
    plain = run("inspect", tiny)
    assert plain.exit_code == 0
    assert "118,784" in plain.output
    assert "0 missing, 0 unexpected, 0 misshaped" in plain.output
    machine = json.loads(run("inspect", tiny, "--json").output)
    assert machine["config"]["text_config"]["num_hidden_layers"] == 7
    assert machine["profiles"]["mini"] is None
    assert machine["path"] == str(tiny)


def test_command_inspect_fails_on_a_checkpoint_that_cannot_score(copy):
    rewrite(copy, lambda tensors: tensors.pop("lm_head.weight"))
    failed = run("inspect", copy)
    assert failed.exit_code == 1
    assert "problem: weights: 1 missing: lm_head.weight" in failed.output
    assert run("inspect", copy, "--json").exit_code == 1
    assert isinstance(run("inspect", copy / "nowhere").exception, CheckpointError)


def test_command_synth(tiny, tmp_path):
    made = run("synth", "--out", tmp_path / "a", "--tokenizer", tiny, "--dtype", "float32")
    assert made.exit_code == 0
    assert made.stdout.strip() == str(tmp_path / "a")
    assert Checkpoint.open(tmp_path / "a").config.dtype == "float32"
    again = run("synth", "--out", tmp_path / "a", "--size", "tiny", "--seed", "3")
    assert isinstance(again.exception, ConfigurationError)
    forced = run("synth", "--out", tmp_path / "a", "--seed", "3", "--force")
    assert forced.exit_code == 0
    assert Checkpoint.open(tmp_path / "a").config.dtype == "bfloat16"
