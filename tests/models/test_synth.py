"""Synthetic checkpoints: in the published layout, whole or not at all, and alive when run."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from minireranker.configs import resolve_profile
from minireranker.errors import CheckpointError, ConfigurationError
from minireranker.models.checkpoint import Checkpoint
from minireranker.models.layout import expected_shapes
from minireranker.models.synth import synthesize
from minireranker.models.synth_sizes import SIZES, model_config
from minireranker.models.synth_tokenizer import CONTROL_TOKENS, MARKUP_TOKENS, train_tokenizer

QUERY = "a red circle above a small blue square in the middle"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


def ids_of(tokenizer):
    return tokenizer.get_vocab(with_added_tokens=True)


def config_of(size, tokenizer, **changes):
    size_of = tokenizer.get_vocab_size()
    return model_config(size, ids=ids_of(tokenizer), vocabulary=size_of, **changes)


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def score_texts(directory, queries):
    from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration

    model, report = Qwen3VLForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(directory)
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    rows = torch.tensor([tokenizer.encode(f"<|im_start|> {q}<|im_end|>\n") for q in queries])
    with torch.no_grad():
        logits = model(input_ids=rows, logits_to_keep=1).logits[:, -1]
    return logits[:, yes] - logits[:, no]


@pytest.mark.parametrize("tied", [False, True])
def test_transformers_loads_it_and_scores_spread(tmp_path, tied):
    directory = synthesize(tmp_path / "model", tie_word_embeddings=tied)
    words = QUERY.split()
    queries = [" ".join(words[at:] + words[:at]) for at in range(len(words))]
    scores = score_texts(directory, queries)  # every word is one token: rows of one length
    assert scores.isfinite().all()
    assert scores.std() > 0.1, "a model that says the same of everything"
    assert scores.abs().max() < 20


def test_weights_depend_on_the_seed_alone(tiny, tmp_path):
    again = synthesize(tmp_path / "again")
    assert contents(again) == contents(tiny)
    other = synthesize(tmp_path / "other", seed=1)
    name = "model.safetensors"
    assert (other / name).read_bytes() != (tiny / name).read_bytes()
    short = synthesize(tmp_path / "short", text={"num_hidden_layers": 2})
    whole, part = load_file(tiny / name), load_file(short / name)
    norm = "model.language_model.layers.1.input_layernorm.weight"
    assert torch.equal(whole[norm], part[norm]), "not on the other tensors"
    values = {tensor.view(torch.int16).numpy().tobytes() for tensor in whole.values()}
    assert len(values) == len(whole), "no two tensors alike"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_other_dtypes(tmp_path, dtype):
    checkpoint = Checkpoint.open(synthesize(tmp_path / "model", dtype=dtype))
    assert checkpoint.config.dtype == dtype
    stored = {tensor.dtype for tensor in checkpoint.weights.tensors.values()}
    assert stored == {{"float32": "F32", "float16": "F16"}[dtype]}


def test_tiny_has_a_profile_of_the_papers_proportions(tiny):
    mini = resolve_profile("mini", layers=7, hidden_size=64, checkpoint=tiny)
    assert (mini.exit_layer, mini.band, mini.keep_ratio) == (4, (2, 4), 0.5)


def test_overrides_reach_the_config(tmp_path):
    directory = synthesize(
        tmp_path / "model", text={"num_hidden_layers": 4}, vision={"depth": 5, "num_heads": 4}
    )
    config = Checkpoint.open(directory).config
    assert (config.text.num_hidden_layers, config.vision.depth, config.vision.num_heads) == (
        4,
        5,
        4,
    )
    with pytest.raises(CheckpointError, match=r"synthetic tiny model.*\n.*num_heads = 3"):
        synthesize(tmp_path / "wrong", vision={"num_heads": 3})
    assert not (tmp_path / "wrong").exists()


# Facts of the published checkpoints: weights of one decoder layer; all tensors but an untied head.
LAYER_WEIGHTS = {"2b": 50_331_648, "4b": 100_925_440, "8b": 192_937_984}
PARAMETERS = {"2b": 2_127_532_032, "4b": 4_437_815_808, "8b": 8_144_793_840}


@pytest.mark.parametrize("size", LAYER_WEIGHTS)
def test_published_sizes_count_what_they_should(tokenizer, size):
    config = config_of(size, tokenizer)
    shapes = expected_shapes(config)
    assert config.text.vocab_size == 151_936
    assert config.tie_word_embeddings is (size != "8b")
    layer = sum(math.prod(s) for n, s in shapes.items() if "decoder.layers.0." in n and len(s) > 1)
    assert layer == LAYER_WEIGHTS[size]
    total = sum(math.prod(shape) for name, shape in shapes.items() if name != "lm_head.weight")
    assert total == PARAMETERS[size]


@pytest.mark.parametrize("size", SIZES)
def test_transformers_expects_the_same_names_and_shapes(tokenizer, size):
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    from minireranker.models.layout import published_name

    config = config_of(size, tokenizer)
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig.from_dict(config.to_dict()))
    theirs = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    if config.tie_word_embeddings:
        theirs.pop("lm_head.weight", None)
    ours = {published_name(name): shape for name, shape in expected_shapes(config).items()}
    assert ours == theirs


def test_an_unknown_size_or_dtype(tmp_path):
    with pytest.raises(ConfigurationError, match=r"'3b': allowed is one of tiny, 2b, 4b, 8b"):
        synthesize(tmp_path / "model", "3b")
    with pytest.raises(CheckpointError, match=r"dtype = 'int8': allowed is 'bfloat16'"):
        synthesize(tmp_path / "model", dtype="int8")
    assert not list(tmp_path.iterdir())


def test_what_stands_at_out_is_kept_unless_told(tiny, tmp_path):
    out = shutil.copytree(tiny, tmp_path / "out")
    with pytest.raises(ConfigurationError, match=r"out is not empty.*--force"):
        synthesize(out, seed=1)
    assert contents(out) == contents(tiny)
    synthesize(out, seed=1, overwrite=True)
    assert Checkpoint.open(out).digest() != Checkpoint.open(tiny).digest()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_only_a_checkpoint_is_ever_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigurationError, match="no checkpoint: it will not be overwritten"):
        synthesize(tmp_path, overwrite=True)
    with pytest.raises(ConfigurationError, match="is a file"):
        synthesize(tmp_path / "thesis.txt", overwrite=True)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        synthesize(tmp_path / "thesis.txt" / "model")
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_an_empty_directory_is_filled(tmp_path):
    (tmp_path / "deep" / "empty").mkdir(parents=True)
    assert Checkpoint.open(synthesize(tmp_path / "deep" / "empty")).config.text.hidden_size == 64


def test_a_broken_off_run_leaves_nothing_behind(tiny, tmp_path):
    out = shutil.copytree(tiny, tmp_path / "out")
    calls = []

    def stop(done, total):
        calls.append((done, total))
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(out, seed=1, overwrite=True, progress=stop)
    total = Checkpoint.open(tiny).weights.nbytes
    assert calls == [(0, total), (total, total)]
    assert contents(out) == contents(tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_too_little_disk_is_said_before_writing(tmp_path):
    with pytest.raises(CheckpointError, match=r"GB free, the checkpoint needs 256000\.\d GB"):
        synthesize(tmp_path / "new" / "model", text={"vocab_size": 10**12})
    assert not list(tmp_path.iterdir())


def test_every_word_of_a_plain_query_is_a_token(tokenizer):
    assert len(tokenizer.encode(QUERY).ids) == len(QUERY.split())
    longer = "photo of two dogs playing with a ball on a sandy beach"
    assert len(tokenizer.encode(longer).ids) <= 1.5 * len(longer.split())
    assert len(tokenizer.encode("yes").ids) == len(tokenizer.encode("no").ids) == 1


@pytest.mark.parametrize(
    "text", ["Caf\u00e9 \u65e5\u672c \U0001f600!", "a\r\n\n\t  b 123", "it's <b>", "", "\x00\x7f"]
)
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_training_twice_gives_the_same_tokenizer(tokenizer):
    assert train_tokenizer().to_str() == tokenizer.to_str()


def test_added_tokens_are_those_of_qwen3_vl(tiny):
    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    added = tokenizer.get_added_tokens_decoder()
    assert [added[number].content for number in sorted(added)] == [*CONTROL_TOKENS, *MARKUP_TOKENS]
    special = {token.content for token in added.values() if token.special}
    assert special == set(CONTROL_TOKENS)
    config, ids = Checkpoint.open(tiny).config, ids_of(tokenizer)
    assert config.image_token_id == ids["<|image_pad|>"]
    assert config.video_token_id == ids["<|video_pad|>"]
    assert config.vision_start_token_id == ids["<|vision_start|>"]
    assert config.vision_end_token_id == ids["<|vision_end|>"]
    assert config.text.vocab_size >= tokenizer.get_vocab_size()
    assert config.text.vocab_size % 64 == 0


def test_transformers_reads_the_tokenizer_alike(tiny, tokenizer):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tiny)
    text = "<|im_start|>user\nthe dog's <|image_pad|> 42\n\n<think> xylophone"
    assert theirs.encode(text) == tokenizer.encode(text).ids
    turns = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "image", "image": "x"}, {"text": "what is it"}]},
    ]
    assert theirs.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|image_pad|><|vision_end|>what is it<|im_end|>\n<|im_start|>assistant\n"
    )


def test_another_directorys_tokenizer_brings_its_ids(tiny, tmp_path):
    donor = shutil.copytree(tiny, tmp_path / "donor")
    changed = json.loads((donor / "tokenizer.json").read_text())
    for token in changed["added_tokens"]:
        token["id"] += 1000
    (donor / "tokenizer.json").write_text(json.dumps(changed))
    made = Checkpoint.open(synthesize(tmp_path / "made", tokenizer=donor))
    assert made.tokenizer_json() == (donor / "tokenizer.json").read_text()
    assert made.config.image_token_id == Checkpoint.open(tiny).config.image_token_id + 1000
    assert made.config.text.vocab_size == Checkpoint.open(tiny).config.text.vocab_size + 960
    assert (made.path / "chat_template.jinja").is_file()


def test_a_tokenizer_without_visual_tokens_is_refused(tmp_path, tokenizer):
    parts = json.loads(tokenizer.to_str()) | {"added_tokens": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(parts))
    with pytest.raises(ConfigurationError, match=r"tokenizer has no <\|image_pad\|>, "):
        synthesize(tmp_path / "model", tokenizer=tmp_path)
    with pytest.raises(CheckpointError, match=r"neither tokenizer\.json nor"):
        synthesize(tmp_path / "model", tokenizer=tmp_path / "nowhere")
