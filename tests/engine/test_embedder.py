"""The embedder gives what the published pipeline gives, on transformers with eager attention."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer, processors

from minireranker import Embedder, Limits
from minireranker.bench.oracle import FullSequenceModel
from minireranker.engine.embedding_prompt import punctuated
from minireranker.engine.pixels import resize_dims
from minireranker.errors import (
    CheckpointError,
    ConfigurationError,
    InputError,
    RejectedDocumentsError,
    TooLongError,
)

LIMITS = Limits(frame_min_pixels=4_096, frame_max_pixels=16_384, video_min_frames=2)


@pytest.fixture(scope="module")
def embedder(tiny: Path) -> Embedder:
    return Embedder.from_pretrained(tiny, dtype="float32")


class Published:
    """The published embedding code's steps over transformers' own model, processor and template."""

    def __init__(self, checkpoint: Path) -> None:
        from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessorPil, Qwen3VLModel

        self.model = Qwen3VLModel.from_pretrained(
            checkpoint, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint)
        self.tokenizer.chat_template = (checkpoint / "chat_template.jinja").read_text()
        self.pixels = Qwen2VLImageProcessorPil.from_pretrained(checkpoint, do_resize=False)

    @torch.inference_mode()
    def __call__(
        self, instruction: str, images: list[np.ndarray[Any, Any]], text: str
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], list[np.ndarray[Any, Any]]]:
        """States [tokens, hidden], the last one normalised, and importances of each image."""
        inputs = self._inputs(instruction, images, text)
        out = self.model(**inputs, output_attentions=True)
        states = out.last_hidden_state[0]
        worth = sum(layer[0, :, -1].sum(0) for layer in out.attentions)
        pads = inputs["input_ids"][0] == self.model.config.image_token_id
        sizes = [int(grid.prod()) // 4 for grid in inputs.get("image_grid_thw", [])]
        parts = worth[pads].split(sizes) if sizes else []
        pooled = torch.nn.functional.normalize(states[-1], dim=-1)
        return states.numpy(), pooled.numpy(), [part.numpy() for part in parts]

    def _inputs(
        self, instruction: str, images: list[np.ndarray[Any, Any]], text: str
    ) -> dict[str, Any]:
        parts: list[dict[str, Any]] = [{"type": "image", "image": None} for _ in images]
        parts += [{"type": "text", "text": text}] if text else []
        conversation = [
            {"role": "system", "content": [{"type": "text", "text": instruction}]},
            {"role": "user", "content": parts or [{"type": "text", "text": "NULL"}]},
        ]
        prompt = self.tokenizer.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=False
        )
        inputs: dict[str, Any] = {}
        if images:
            pixels = self.pixels([self._resized(image) for image in images], return_tensors="pt")
            inputs = dict(pixels)
            for grid in pixels["image_grid_thw"]:
                pads = "<|placeholder|>" * (int(grid.prod()) // 4)
                prompt = prompt.replace("<|image_pad|>", pads, 1)
            prompt = prompt.replace("<|placeholder|>", "<|image_pad|>")
        inputs["input_ids"] = self.tokenizer(prompt, return_tensors="pt")["input_ids"]
        visual = inputs["input_ids"] == self.model.config.image_token_id
        return inputs | {"mm_token_type_ids": visual.int()}

    def _resized(self, image: np.ndarray[Any, Any]) -> Image.Image:
        height, width = resize_dims(
            *image.shape[:2], min_pixels=4_096, max_pixels=1_843_200, max_aspect_ratio=200
        )
        return Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def published(tiny: Path) -> Published:
    return Published(tiny)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.tuples(st.integers(40, 200), st.integers(40, 200)), max_size=3),
    text=st.sampled_from(["", "a red circle", "two charts and a table", "left of the page: 7?"]),
    instruction=st.sampled_from([None, "Find the page that answers", "Is it a photo?"]),
    seed=st.integers(0, 999),
)
def test_states_vectors_and_importances_are_the_published_ones(
    embedder: Embedder,
    published: Published,
    sizes: list[tuple[int, int]],
    text: str,
    instruction: str | None,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    images = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    states, pooled, worth = published(punctuated(instruction or ""), images, text)
    given = {"image": images or None, "text": text or None}
    (found,) = embedder.encode([given], instruction=instruction, states=True, importances=True)
    assert found is not None
    assert found.states is not None
    np.testing.assert_allclose(found.states.numpy(), states, atol=1e-4 * np.abs(states).max())
    assert found.pooled @ pooled >= 0.99999
    assert len(found.importances) == len(images)
    for ours, theirs in zip(found.importances, worth, strict=True):
        np.testing.assert_allclose(ours.ravel(), theirs, rtol=1e-4)


def test_a_videos_importances_are_the_eager_ones(
    embedder: Embedder, tiny: Path, picture: Callable[..., np.ndarray[Any, Any]]
) -> None:
    small = Embedder.from_pretrained(tiny, dtype="float32", limits=LIMITS)
    frames = [picture(64, 96, seed) for seed in range(4)]
    (found,) = small.encode([{"video": frames, "text": "a chart"}], importances=True)
    assert found is not None
    from minireranker.engine import Document
    from minireranker.engine.reading import read_content

    (visual,) = read_content(Document(video=frames).content, LIMITS).visuals
    model = FullSequenceModel(tiny, dtype=torch.float32).model
    model.set_attn_implementation("eager")
    pads = found.token_ids == model.config.video_token_id
    with torch.inference_mode():
        out = model.model(
            input_ids=torch.from_numpy(found.token_ids)[None],
            mm_token_type_ids=torch.from_numpy(2 * pads)[None].int(),
            pixel_values_videos=torch.from_numpy(visual.patches((0.5,) * 3, (0.5,) * 3)),
            video_grid_thw=torch.tensor([visual.grid]),
            output_attentions=True,
        )
    worth = sum(layer[0, :, -1].sum(0) for layer in out.attentions)[torch.from_numpy(pads)]
    assert found.importances[0].shape == (2, 2, 3)
    np.testing.assert_allclose(found.importances[0].ravel(), worth.numpy(), rtol=1e-4)


def test_company_and_order_change_no_bit(
    embedder: Embedder, tiny: Path, picture: Callable[..., np.ndarray[Any, Any]]
) -> None:
    items = [picture(64, 96), "a red circle", {"image": picture(128, 64), "text": "page"}, "blue"]
    together = embedder.encode(items, states=True, importances=True)
    few = Embedder.from_pretrained(tiny, dtype="float32", batch_tokens=40)
    for at, alone in enumerate(few.encode(items[::-1], states=True, importances=True)):
        same = together[len(items) - 1 - at]
        assert alone is not None
        assert same is not None
        assert np.array_equal(alone.pooled, same.pooled)
        assert torch.equal(alone.states, same.states)
        for one, other in zip(alone.importances, same.importances, strict=True):
            assert np.array_equal(one, other)


def test_a_shorter_vector_is_the_beginning_of_the_longer(embedder: Embedder) -> None:
    whole, short = (embedder.encode(["a red circle"], dim=dim).pooled[0] for dim in (None, 16))
    assert len(whole) == embedder.hidden_size
    np.testing.assert_allclose(short, whole[:16] / np.linalg.norm(whole[:16]), atol=1e-6)


@pytest.mark.parametrize("dim", [0, 65, -1, 2.5, True])
def test_an_impossible_dim_is_refused(embedder: Embedder, dim: Any) -> None:
    with pytest.raises(ConfigurationError, match="dim"):
        embedder.encode(["x"], dim=dim)


def test_appended_embeddings_see_the_prompt_and_change_nothing_before_them(
    embedder: Embedder, picture: Callable[..., np.ndarray[Any, Any]]
) -> None:
    items = [picture(64, 64), "a red circle"]
    appended = torch.randn(5, embedder.hidden_size, generator=torch.Generator().manual_seed(0))
    plain = embedder.encode(items, states=True, importances=True)
    longer = embedder.encode(items, states=True, importances=True, appended=appended)
    for before, after in zip(plain, longer, strict=True):
        assert before is not None
        assert after is not None
        assert len(after.states) == len(before.states) + 5
        torch.testing.assert_close(after.states[:-5], before.states)
        np.testing.assert_allclose(after.pooled, before.pooled, atol=1e-5)
        assert len(after.token_ids) == len(before.token_ids)
        for one, other in zip(before.importances, after.importances, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4)
    # The appended tokens' positions follow the prompt's: the same rows as text at those places.
    assert not torch.allclose(longer[0].states[-5:], longer[1].states[-5:])


def test_the_last_token_is_the_one_the_tokenizer_ends_with(tiny: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "ends"
    shutil.copytree(tiny, checkpoint)
    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    end = tokenizer.token_to_id("<|endoftext|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", end)]
    )
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    (found,) = Embedder.from_pretrained(checkpoint, dtype="float32").encode(["a circle"])
    assert found is not None
    assert found.token_ids[-1] == end
    states, pooled, _ = Published(checkpoint)(punctuated(""), [], "a circle")
    assert len(states) == len(found.token_ids)
    assert found.pooled @ pooled >= 0.99999


def test_the_frame_is_the_checkpoints_own_template(tiny: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "template"
    shutil.copytree(tiny, checkpoint)
    template = "<|im_start|>{{ messages[0].content[0].text }}|{{ messages[1].content[0].text }}END"
    (checkpoint / "chat_template.jinja").unlink()
    settings_path = checkpoint / "tokenizer_config.json"
    values = json.loads(settings_path.read_text())
    settings_path.write_text(json.dumps({**values, "chat_template": template}))
    (found,) = Embedder.from_pretrained(checkpoint, dtype="float32").encode(["a circle"])
    text = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    wanted = text.encode("<|im_start|>Represent the user's input.|a circleEND").ids
    assert found is not None
    assert found.token_ids.tolist() == wanted


@pytest.mark.parametrize(
    "template", ["{{ oops", "nothing", "{{ messages[0].content[0].text * 2 }}"]
)
def test_a_template_that_loses_a_message_is_refused(
    tiny: Path, tmp_path: Path, template: str
) -> None:
    checkpoint = tmp_path / "broken"
    shutil.copytree(tiny, checkpoint)
    (checkpoint / "chat_template.jinja").write_text(template)
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja"):
        Embedder.from_pretrained(checkpoint)


def test_control_tokens_typed_by_a_user_are_text(embedder: Embedder) -> None:
    (found,) = embedder.encode(["<|im_end|><|image_pad|>"])
    assert found is not None
    control = [token for token in found.token_ids.tolist() if token in embedder.special_ids]
    assert len(control) == 5  # the scaffold's own: two messages and the generation prompt
    assert not embedder.visual_ids & set(found.token_ids.tolist())


def test_a_bad_input_is_named_and_the_others_go_on(
    embedder: Embedder, tmp_path: Path, picture: Callable[..., np.ndarray[Any, Any]]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    found = embedder.encode([picture(64, 64), broken, "text", {"id": "seven"}, {"colour": 1}])
    assert [item is None for item in found] == [False, True, False, True, True]
    assert [item.index for item in found.failed] == [1, 3, 4]
    with pytest.raises(RejectedDocumentsError, match=r"broken\.png"):
        _ = found.pooled


def test_long_text_is_cut_and_too_many_pixels_are_refused(
    tiny: Path, picture: Callable[..., np.ndarray[Any, Any]]
) -> None:
    small = Embedder.from_pretrained(
        tiny, dtype="float32", limits=Limits(max_tokens=60, max_suffix_tokens=8)
    )
    found = small.encode(["circle " * 500, picture(512, 512)])
    assert found[0] is not None
    assert len(found[0].token_ids) <= 60
    assert isinstance(found.failed[0].error, TooLongError)


def test_identity_covers_what_changes_a_vector(tiny: Path) -> None:
    plain = Embedder.from_pretrained(tiny, dtype="float32").identity
    others = [
        {"dtype": "bfloat16"},
        {"instruction": "Find pages."},
        {"limits": Limits(max_pixels=65_536)},
        {"backend": "sdpa"},
    ]
    found = {Embedder.from_pretrained(tiny, **{"dtype": "float32", **o}).identity for o in others}
    assert len(found | {plain}) == len(others) + 1
    assert Embedder.from_pretrained(tiny, dtype="float32", batch_tokens=7).identity == plain


def test_an_embedding_checkpoint_needs_no_head(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from minireranker.models.synth import synthesize

    checkpoint = synthesize(tmp_path / "untied", "tiny", tie_word_embeddings=False)
    (weights,) = checkpoint.glob("*.safetensors")
    tensors = load_file(weights)
    del tensors["lm_head.weight"]
    save_file(tensors, weights, {"format": "pt"})
    assert Embedder.from_pretrained(checkpoint).encode(["a circle"]).pooled.shape == (1, 64)


def test_an_empty_call_and_an_empty_input(embedder: Embedder) -> None:
    assert len(embedder.encode([])) == 0
    (empty,), (null,) = embedder.encode([{}]), embedder.encode(["NULL"])
    assert empty is not None
    assert null is not None
    assert np.array_equal(empty.token_ids, null.token_ids)


def test_text_with_a_lone_surrogate_is_refused(embedder: Embedder) -> None:
    found = embedder.encode(["\ud800"])
    assert isinstance(found.failed[0].error, InputError)


@pytest.mark.parametrize(
    "value",
    [
        "{{ eos_token }}%s",
        [{"name": "other", "template": "x"}, {"name": "default", "template": "{{ eos_token }}%s"}],
        {"default": "{{ eos_token }}%s"},
    ],
)
def test_a_template_may_name_special_tokens_and_be_one_of_several(
    tiny: Path, tmp_path: Path, value: Any
) -> None:
    from minireranker.models.chat_template import read_chat_frame

    text = "{{ messages[0].content[0].text }}|{{ messages[1].content[0].text }}"
    written = json.loads(json.dumps(value).replace("%s", text))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": {"content": "<|im_end|>"}, "chat_template": written})
    )
    assert read_chat_frame(tmp_path) == ("<|im_end|>", "|", "")


@pytest.mark.parametrize("value", [[{"name": "other", "template": "x"}], {"a": "b"}, [{}], 7])
def test_a_template_that_is_none_is_refused(tmp_path: Path, value: Any) -> None:
    from minireranker.models.chat_template import read_chat_frame

    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": value}))
    with pytest.raises(CheckpointError, match="chat template"):
        read_chat_frame(tmp_path)


def test_one_lazy_image_many_times_and_functions_in_the_callers_thread(
    embedder: Embedder,
    tmp_path: Path,
    picture: Callable[..., np.ndarray[Any, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minireranker.engine.ahead.THREADS", 8)
    monkeypatch.setattr("minireranker.engine.ahead.DEPTH", 16)
    Image.fromarray(picture(256, 256)).save(tmp_path / "one.png")
    threads = set()

    def draw() -> np.ndarray[Any, Any]:
        threads.add(threading.current_thread())
        return picture(64, 64)

    for _ in range(4):
        lazy = Image.open(tmp_path / "one.png")
        assert not embedder.encode([lazy] * 8 + [draw] * 3).failed
    assert threads == {threading.main_thread()}


def test_an_adapter_can_be_trained_on_states(embedder: Embedder) -> None:
    (found,) = embedder.encode(["a circle"], states=True)
    assert found is not None
    assert found.states is not None
    adapter = torch.nn.Linear(embedder.hidden_size, 4)
    adapter(found.states).sum().backward()
    assert adapter.weight.grad is not None


@pytest.mark.parametrize("appended", [torch.zeros(3, 5), torch.zeros(64), [[1.0]]])
def test_appended_embeddings_of_another_shape_are_refused(
    embedder: Embedder, appended: Any
) -> None:
    with pytest.raises(ConfigurationError, match="appended"):
        embedder.encode(["x"], appended=appended)


@pytest.mark.parametrize(
    ("field", "value"),
    [("limits", 5), ("instruction", "\ud800"), ("instruction", 7), ("batch_tokens", 0)],
)
def test_arguments_are_checked_before_anything_is_loaded(
    tiny: Path, field: str, value: Any
) -> None:
    with pytest.raises(ConfigurationError, match=field):
        Embedder.from_pretrained(tiny, **{field: value})
