"""What a user meets when a checkpoint directory is opened: right ones, old ones, broken ones."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from minireranker.errors import CheckpointError
from minireranker.models.checkpoint import Checkpoint
from minireranker.models.hub import resolve
from minireranker.models.qwen3_vl.config import ModelConfig
from minireranker.models.shard import BLOCK_BYTES, SAMPLED_BLOCKS, Shard
from minireranker.models.synth import synthesize
from minireranker.models.tokenizer_files import read_tokenizer_json, token_ids


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "copy")


@pytest.fixture
def config(tiny):
    return json.loads((tiny / "config.json").read_text())


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_reads_both_spellings_alike(config):
    old = ModelConfig.from_dict(config)
    text = config["text_config"]
    rope = text.pop("rope_scaling") | {"rope_theta": text.pop("rope_theta")}
    text["rope_parameters"] = rope
    config["torch_dtype"] = f"torch.{config.pop('dtype')}"
    text["tie_word_embeddings"] = config.pop("tie_word_embeddings")
    config["vision_config"]["rope_parameters"] = {"rope_type": "axial", "rope_theta": 10000.0}
    assert ModelConfig.from_dict(config) == old
    assert old.text.rope_theta == 5e6
    assert old.text.mrope_section == (4, 2, 2)


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings_may_be_said_in_the_text_config(config, tied):
    del config["tie_word_embeddings"]
    config["text_config"]["tie_word_embeddings"] = tied
    assert ModelConfig.from_dict(config).tie_word_embeddings is tied


def test_what_transformers_saves_reads_back_the_same(config, tmp_path):
    from transformers import AutoConfig

    ours = ModelConfig.from_dict(config)
    (tmp_path / "config.json").write_text(json.dumps(ours.to_dict()))
    theirs = AutoConfig.from_pretrained(tmp_path)
    assert theirs.text_config.rope_parameters["rope_theta"] == 5e6
    theirs.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert "rope_parameters" in saved["text_config"]
    assert ModelConfig.from_dict(saved) == ours


def test_all_bad_keys_are_named_at_once_with_value_and_allowed(config):
    del config["text_config"]["hidden_size"]
    config["text_config"]["hidden_act"] = "gelu"
    config["vision_config"]["patch_size"] = 14
    config["image_token_id"] = "many"
    with pytest.raises(CheckpointError) as caught:
        ModelConfig.from_dict(config)
    message = str(caught.value)
    assert "text_config.hidden_size is missing: allowed is a whole number" in message
    assert "text_config.hidden_act = 'gelu': allowed is 'silu'" in message
    assert "vision_config.patch_size = 14: allowed is 16" in message
    assert "image_token_id = 'many'" in message
    assert "out_hidden_size" not in message, "rests on hidden_size, which is already named"
    assert message.count("\n") == 5


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("text_config", "attention_bias", True),
        ("text_config", "num_attention_heads", 5),
        ("text_config", "num_hidden_layers", 0),
        ("text_config", "num_hidden_layers", True),
        ("text_config", "rms_norm_eps", float("inf")),
        ("text_config", "head_dim", 15),
        ("text_config", "rope_scaling", {"rope_type": "yarn", "mrope_section": [4, 2, 2]}),
        ("text_config", "rope_scaling", {"mrope_interleaved": False, "mrope_section": [4, 2, 2]}),
        ("text_config", "rope_scaling", {"mrope_section": [4, 4, 4]}),
        ("text_config", "rope_scaling", {"mrope_section": [2, 3, 3]}),
        ("text_config", "rope_scaling", {"mrope_section": [8]}),
        ("text_config", "rope_scaling", None),
        ("vision_config", "hidden_act", "silu"),
        ("vision_config", "spatial_merge_size", 4),
        ("vision_config", "temporal_patch_size", 1),
        ("vision_config", "num_heads", 3),
        ("vision_config", "out_hidden_size", 32),
        ("vision_config", "num_position_embeddings", 63),
        ("vision_config", "deepstack_visual_indexes", [0, 4]),
        ("vision_config", "deepstack_visual_indexes", [2, 1]),
        ("vision_config", "deepstack_visual_indexes", "0"),
        (None, "quantization_config", {"quant_method": "fp8"}),
        (None, "dtype", "int8"),
        (None, "video_token_id", 10**6),
        (None, "vision_config", None),
    ],
)
def test_a_value_this_code_was_not_written_for_is_refused(config, section, key, value):
    (config[section] if section else config)[key] = value
    name = f"{section}.{key}" if section else key
    with pytest.raises(CheckpointError, match=rf"(?m)^  {name}") as caught:
        ModelConfig.from_dict(config)
    assert str(caught.value).count("allowed is") == 1


def test_another_architecture_is_called_by_its_name(config):
    with pytest.raises(CheckpointError, match=r"model_type = 'qwen2_5_vl'.*another architecture"):
        ModelConfig.from_dict(config | {"model_type": "qwen2_5_vl"})


def test_opens_a_checkpoint(tiny):
    checkpoint = Checkpoint.open(str(tiny))
    assert checkpoint.path == tiny
    assert checkpoint.config.text.num_hidden_layers == 7
    assert checkpoint.pixel_mean == checkpoint.pixel_std == (0.5, 0.5, 0.5)
    assert checkpoint.head_names == ("lm_head.weight",)
    assert checkpoint.weights.tensors["decoder.norm.weight"].shape == (64,)


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def no_header(path):
    path.write_bytes(struct.pack("<Q", 10**12) + b"{}")


def wrong_offsets(path):
    header = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))


def index_to(files):
    def write(path):
        path.unlink()
        index = path.with_name("model.safetensors.index.json")
        index.write_text(json.dumps({"weight_map": files}))

    return write


BROKEN = [
    ("config.json", os.unlink, "no config.json"),
    ("config.json", lambda path: path.write_text("{"), "config.json is damaged .*download it"),
    ("config.json", lambda path: path.write_text("[]"), "config.json holds no JSON object"),
    ("model.safetensors", os.unlink, "neither model.safetensors nor .*index.json"),
    ("model.safetensors", cut, "model.safetensors has .* bytes.*cut short.*download it again"),
    ("model.safetensors", lambda path: path.write_bytes(b""), "not a readable safetensors"),
    ("model.safetensors", no_header, "not a readable safetensors file"),
    ("model.safetensors", wrong_offsets, "offsets and shape disagree"),
    ("model.safetensors", index_to({"x": "gone-1.safetensors"}), r"names 1 file.*gone-1"),
    ("model.safetensors", index_to({"x": "../up.safetensors"}), "damaged"),
    ("model.safetensors", index_to({}), "damaged"),
    ("model.safetensors", index_to(["x"]), "damaged .*download it again"),
    ("preprocessor_config.json", lambda path: edit(path, image_mean=[0.5]), "image_mean = "),
    ("preprocessor_config.json", lambda path: edit(path, image_std=[0, 1, 1]), "image_std = "),
]


@pytest.mark.parametrize(("name", "damage", "message"), BROKEN)
def test_a_broken_file_is_named_with_what_to_do(copy, name, damage, message):
    damage(copy / name)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.open(copy)


def test_an_index_that_promises_more_than_its_files_hold(copy):
    (copy / "model.safetensors").rename(copy / "a.safetensors")
    index = {"model.language_model.norm.weight": "a.safetensors", "ghost": "a.safetensors"}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    with pytest.raises(CheckpointError, match=r"1 tensor.*ghost"):
        Checkpoint.open(copy)


def test_a_path_that_is_no_directory(tiny):
    with pytest.raises(CheckpointError, match="does not exist; pass a checkpoint directory"):
        Checkpoint.open(tiny / "nowhere")
    with pytest.raises(CheckpointError, match="is a file"):
        Checkpoint.open(tiny / "config.json")


def test_pixel_statistics_of_the_preprocessor(copy):
    source = copy / "preprocessor_config.json"
    edit(source, image_mean=[0, 0.25, 0.5], image_std=[1, 2.0, 3])
    checkpoint = Checkpoint.open(copy)
    assert checkpoint.pixel_mean == (0.0, 0.25, 0.5)
    assert checkpoint.pixel_std == (1.0, 2.0, 3.0)
    processor = {"image_processor": json.loads(source.read_text())}
    (copy / "processor_config.json").write_text(json.dumps(processor))
    source.unlink()
    assert Checkpoint.open(copy).pixel_mean == checkpoint.pixel_mean, "what transformers 5 saves"
    (copy / "processor_config.json").unlink()
    assert Checkpoint.open(copy).pixel_std == (0.5, 0.5, 0.5)


def take_apart(directory):
    """tokenizer.json into the three files older checkpoints have instead."""
    whole = json.loads((directory / "tokenizer.json").read_text())
    (directory / "tokenizer.json").unlink()
    (directory / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in whole["model"]["merges"])
    (directory / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    added = {str(token.pop("id")): token for token in whole["added_tokens"]}
    edit(directory / "tokenizer_config.json", added_tokens_decoder=added)


def test_a_tokenizer_in_pieces_equals_the_whole_one(tiny, copy):
    take_apart(copy)
    whole, pieces = Checkpoint.open(tiny).tokenizer_json(), Checkpoint.open(copy).tokenizer_json()
    assert token_ids(pieces) == token_ids(whole)
    text = "<|im_start|>user\nthe dog's <|image_pad|>  42 caf\u00e9\n\n<tool_call> xylophone"
    encode = [Tokenizer.from_str(text_json).encode(text).ids for text_json in (whole, pieces)]
    assert encode[0] == encode[1]


@pytest.mark.parametrize("content", ["{", "{}", '{"added_tokens": 3}', '{"added_tokens": [{}]}'])
def test_a_damaged_tokenizer_is_named(copy, content):
    (copy / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer.json is damaged .*download it again"):
        read_tokenizer_json(copy)


def test_missing_or_damaged_tokenizer_pieces(copy):
    take_apart(copy)
    (copy / "merges.txt").write_text("#version: 0.2\nnot a merge of this\n")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tokenizer_json(copy)
    (copy / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match=r"neither tokenizer.json nor merges.txt"):
        read_tokenizer_json(copy)


def flip(path, at):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_digest_knows_config_header_and_content(tiny, copy):
    digest = Checkpoint.open(tiny).digest()
    assert Checkpoint.open(copy).digest() == digest, "not the place it lies"
    seen = {digest}
    weights = copy / "model.safetensors"
    for at in (weights.stat().st_size // 2, -1 + weights.stat().st_size):
        flip(weights, at)
        seen.add(Checkpoint.open(copy).digest())
    data = weights.read_bytes()
    weights.write_bytes(data.replace(b'"format":"pt"', b'"format":"np"', 1))
    seen.add(Checkpoint.open(copy).digest())
    edit(copy / "config.json", use_cache=True)
    seen.add(Checkpoint.open(copy).digest())
    assert len(seen) == 5


def test_digest_samples_large_files_from_end_to_end(tmp_path):
    class Fed:
        def __init__(self):
            self.chunks = []

        def update(self, data):
            self.chunks.append(data)

    path = tmp_path / "large.safetensors"
    size = 3 * SAMPLED_BLOCKS * BLOCK_BYTES
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    content = os.urandom(size)
    path.write_bytes(struct.pack("<Q", len(header)) + header + content)
    fed = Fed()
    Shard.read(path).update_digest(fed)
    name, fed_header, *blocks = fed.chunks
    assert name == f"large.safetensors\0{path.stat().st_size}\0".encode()
    assert fed_header == header
    assert len(blocks) == SAMPLED_BLOCKS
    assert {len(block) for block in blocks} == {BLOCK_BYTES}
    assert blocks[0] == content[:BLOCK_BYTES]
    assert blocks[-1] == content[-BLOCK_BYTES:]


def test_resolve_takes_a_directory_as_it_is(tiny):
    assert resolve(tiny) == tiny
    assert resolve(str(tiny)) == tiny


def test_resolve_knows_the_built_in_models_whatever_lies_around(tmp_path, monkeypatch):
    (tmp_path / "builtin").mkdir()
    monkeypatch.chdir(tmp_path)
    found = resolve("builtin"), resolve("builtin", "embedder")
    assert [(path / "model.safetensors").is_file() for path in found] == [True, True]
    assert found[0] != found[1]
    assert resolve("./builtin") == Path("builtin")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("qwen3-vl", "no directory, and no hub id"),
        ("a/b/c", "no directory, and no hub id"),
        ("./org/name", "no directory, and no hub id"),
    ],
)
def test_resolve_says_what_a_name_is_not(name, message):
    with pytest.raises(CheckpointError, match=message):
        resolve(name)


def test_resolve_finds_a_hub_snapshot_offline(tmp_path):
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("0" * 40)
    program = """
from minireranker.errors import CheckpointError
from minireranker.models.hub import resolve
print(resolve("org/name"))
try:
    resolve("org/absent")
except CheckpointError as error:
    print(error)
"""
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    command = [sys.executable, "-P", "-c", program]
    ran = subprocess.run(command, env=offline, capture_output=True, text=True, check=True)
    found, error = ran.stdout.split("\n", 1)
    assert found == str(snapshot)
    assert "'org/absent' is neither a directory nor a hub id that can be downloaded (" in error
