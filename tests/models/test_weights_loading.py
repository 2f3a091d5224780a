"""Tensors from disk into a module: every layout in use, every way the two may not fit."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from minireranker.errors import CheckpointError
from minireranker.models.checkpoint import Checkpoint
from minireranker.models.synth import synthesize
from minireranker.models.weights import WeightFiles, load_module, load_rows

LM_HEAD = "lm_head.weight"
DECODER, VISION = "model.language_model.", "model.visual."


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="module")
def published(tiny):
    """Tensors by the names on disk."""
    return load_file(tiny / "model.safetensors")


def written(directory, tensors):
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, directory / "w")
    (directory / "w").rename(directory / "model.safetensors")
    return WeightFiles.open(directory)


def skeleton(tensors, layers=None, buffers=()):
    """A module on the meta device with those state_dict names and shapes."""
    root = nn.Module()
    for name, tensor in tensors.items():
        at = re.match(r"layers\.(\d+)\.", name)
        if at and layers is not None and int(at[1]) >= layers:
            continue
        *path, leaf = name.split(".")
        owner = root
        for step in path:
            if step not in owner._modules:
                owner.add_module(step, nn.Module())
            owner = owner._modules[step]
        meta = torch.empty(tensor.shape, device="meta")
        if name in buffers:
            owner.register_buffer(leaf, meta)
        else:
            owner.register_parameter(leaf, nn.Parameter(meta))
    return root


def under(prefix, tensors):
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def load(files, module, part="decoder", dtype=torch.bfloat16):
    load_module(files, module, part, dtype=dtype, device="cpu")
    return module.state_dict()


def same(loaded, tensors):
    return loaded.keys() == tensors.keys() and all(
        torch.equal(loaded[name], tensor.to(loaded[name].dtype)) for name, tensor in tensors.items()
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("part", "prefix"), [("decoder", DECODER), ("vision", VISION)])
def test_fills_a_meta_module_in_place(tiny, published, part, prefix, dtype):
    tensors = under(prefix, published)
    module = skeleton(tensors)
    loaded = load(WeightFiles.open(tiny), module, part, dtype)
    assert same(loaded, tensors)
    assert {tensor.dtype for tensor in loaded.values()} == {dtype}
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_fills_buffers_as_buffers(tiny, published):
    tensors = under(DECODER, published)
    module = skeleton(tensors, buffers=("norm.weight",))
    assert same(load(WeightFiles.open(tiny), module), tensors)
    assert "norm.weight" in dict(module.named_buffers())


def test_holds_a_copy_not_the_file(tiny, published, tmp_path):
    files = written(tmp_path, published)
    loaded = load(files, skeleton(under(DECODER, published)))
    path = tmp_path / "model.safetensors"
    with path.open("r+b") as file:
        file.seek(8 + len(files.shards[0].header))
        file.write(bytes(path.stat().st_size - file.tell()))
    assert same(loaded, under(DECODER, published))


RENAMINGS = {
    "older": {
        DECODER: "language_model.model.",
        VISION: "visual.",
        "lm_head.": "language_model.lm_head.",
    },
    "base model": {DECODER: "language_model.", VISION: "visual."},
    "text only": {DECODER: "model.", VISION: None},
}


@pytest.mark.parametrize("naming", RENAMINGS)
def test_reads_other_prefixes(published, tmp_path, naming):
    renamed = dict(published)
    for prefix, other in RENAMINGS[naming].items():
        for name in [name for name in renamed if name.startswith(prefix)]:
            tensor = renamed.pop(name)
            if other is not None:
                renamed[other + name.removeprefix(prefix)] = tensor
    files = written(tmp_path, renamed)
    tensors = under(DECODER, published)
    assert same(load(files, skeleton(tensors)), tensors)
    assert torch.equal(load_rows(files, [LM_HEAD], [3]), published[LM_HEAD][3:4].float())
    if naming != "text only":
        tensors = under(VISION, published)
        assert same(load(files, skeleton(tensors), "vision"), tensors)


def test_shards_and_a_single_file_hold_the_same(tiny, published, tmp_path, monkeypatch):
    monkeypatch.setattr("minireranker.models.synth_weights.SHARD_BYTES", 250_000)
    checkpoint = Checkpoint.open(synthesize(tmp_path / "sharded"))
    assert len(checkpoint.weights.shards) == 6
    index = json.loads((tmp_path / "sharded" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == checkpoint.weights.nbytes
    assert index["weight_map"].keys() == published.keys()
    tensors = under(DECODER, published)
    assert same(load(checkpoint.weights, skeleton(tensors)), tensors)
    assert checkpoint.weights.tensors.keys() == WeightFiles.open(tiny).tensors.keys()


@pytest.mark.parametrize("layers", [3, 0])
def test_layers_beyond_the_module_are_never_read(tiny, published, layers):
    module = skeleton(under(DECODER, published), layers=layers)
    loaded = load(WeightFiles.open(tiny), module)
    assert sum(name.endswith("q_proj.weight") for name in loaded) == layers
    assert same(loaded, {name: under(DECODER, published)[name] for name in loaded})


def test_layers_beyond_the_exit_need_not_be_on_disk(published, tmp_path):
    kept = {n: t for n, t in published.items() if not re.search(r"language_model.layers\.[4-6]", n)}
    files = written(tmp_path, kept)
    assert same(load(files, skeleton(under(DECODER, kept))), under(DECODER, kept))
    with pytest.raises(CheckpointError, match=r"33 missing: layers\.4\.input_layernorm\.weight"):
        load(files, skeleton(under(DECODER, published)))


def test_names_all_that_does_not_fit_at_once(published, tmp_path):
    changed = dict(published)
    del changed[f"{DECODER}layers.0.mlp.up_proj.weight"], changed[f"{DECODER}norm.weight"]
    changed[f"{DECODER}layers.1.self_attn.q_norm.weight"] = torch.ones(8)
    changed[f"{DECODER}layers.1.self_attn.q_proj.bias"] = torch.ones(64)
    changed[f"{DECODER}layers.9.self_attn.q_proj.bias"] = torch.ones(64)
    module = skeleton(under(DECODER, published))
    with pytest.raises(CheckpointError) as caught:
        load(written(tmp_path, changed), module)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "2 missing: layers.0.mlp.up_proj.weight, norm.weight" in message
    assert "1 unexpected: layers.1.self_attn.q_proj.bias" in message, "layer 9 is not ours"
    assert "1 of another shape: layers.1.self_attn.q_norm.weight [8] instead of [16]" in message
    assert "Download the checkpoint again" in message
    assert all(parameter.is_meta for parameter in module.parameters()), "nothing half loaded"


def test_lists_ten_names_and_the_count(published, tmp_path):
    files = written(tmp_path, {LM_HEAD: published[LM_HEAD]})
    with pytest.raises(CheckpointError) as caught:
        load(files, skeleton(under(VISION, published)), "vision")
    listed = re.search(r"75 missing: (.*), \.\.\.", str(caught.value))
    assert len(listed[1].split(", ")) == 10


def test_another_part_and_the_head_are_not_unexpected(tiny, published):
    extra = {name: published[name] for name in published if not name.startswith(VISION)}
    assert LM_HEAD in extra
    tensors = under(DECODER, published)
    assert same(load(WeightFiles.open(tiny), skeleton(tensors)), tensors)


def test_the_same_tensor_under_two_names_is_refused(published, tmp_path):
    norm = published[f"{DECODER}norm.weight"]
    with pytest.raises(CheckpointError, match=r"is also .*keep one of the two"):
        written(tmp_path, published | {"language_model.model.norm.weight": norm})


def test_quantised_weights_are_refused(published, tmp_path):
    name = f"{DECODER}layers.0.self_attn.q_proj.weight"
    files = written(tmp_path, published | {name: published[name].to(torch.int8)})
    with pytest.raises(CheckpointError, match=r"q_proj\.weight is stored as I8; quantised"):
        load(files, skeleton(under(DECODER, published)))


def test_a_file_the_library_refuses_is_named(published, tmp_path):
    files = written(tmp_path, published)
    (tmp_path / "model.safetensors").write_bytes(b"no header here")
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read .*download"):
        load(files, skeleton(under(DECODER, published)))


def test_head_rows_of_an_untied_and_a_tied_model(tiny, published, tmp_path):
    checkpoint = Checkpoint.open(tiny)
    rows = load_rows(checkpoint.weights, checkpoint.head_names, [770, 543])
    assert rows.dtype == torch.float32
    assert torch.equal(rows, published[LM_HEAD][[770, 543]].float())

    tied = Checkpoint.open(synthesize(tmp_path / "tied", tie_word_embeddings=True))
    assert LM_HEAD not in tied.weights.tensors
    rows = load_rows(tied.weights, tied.head_names, [5])
    assert torch.equal(rows, published[f"{DECODER}embed_tokens.weight"][5:6].float())


def test_an_embedding_model_without_head_cannot_score(published, tmp_path):
    files = written(tmp_path, {n: t for n, t in published.items() if n != LM_HEAD})
    with pytest.raises(CheckpointError, match=r"no tensor lm_head\.weight \(an embedding model"):
        load_rows(files, [LM_HEAD], [1])


@pytest.mark.parametrize("row", [-1, 1856])
def test_rows_outside_are_refused(tiny, row):
    with pytest.raises(CheckpointError, match=r"has 1856 rows, wanted is \[(-1|1856)\]"):
        load_rows(WeightFiles.open(tiny), [LM_HEAD], [row])


PEAK = """
import sys, torch
from torch import nn
from pathlib import Path
from minireranker.models.weights import WeightFiles, load_module

def peak():  # MiB; of this program alone, which ru_maxrss is not
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

with torch.device("meta"):
    module = nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(12)))
files = WeightFiles.open(Path(sys.argv[1]))
before = peak()
load_module(files, module, "vision", dtype=torch.float32, device="cpu")
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's accounts")
def test_peak_memory_is_the_module_and_one_tensor(tmp_path):
    size = 2048 * 2048 * 4 / 2**20
    written(tmp_path, {f"visual.{at}.weight": torch.full((2048, 2048), at / 7) for at in range(12)})
    command = [sys.executable, "-P", "-c", PEAK, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    grown = float(ran.stdout)
    assert 11 * size < grown < 16 * size, f"{grown:.0f} MiB for 12 tensors of {size:.0f}"
