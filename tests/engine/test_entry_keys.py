"""Keys of entries: one for the same picture however it came, another for any difference."""

from __future__ import annotations

import io
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from minireranker import Cache, Document, Profile, Reranker


@pytest.fixture
def load(tiny: Path) -> Callable[..., Reranker]:
    def load_(model: Path = tiny, **options: Any) -> Reranker:
        return Reranker.from_pretrained(model, **{"dtype": "float32", **options})

    return load_


def key(reranker: Reranker, document: Any, **options: Any) -> str:
    (found,) = reranker.index([document], **options).keys
    assert found is not None
    return found


def encoded(pixels: Any, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def test_one_picture_has_one_key(
    mini: Reranker, picture: Callable[..., Any], tmp_path: Path
) -> None:
    pixels = picture(64, 96)
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(pixels))
    opaque = np.concatenate([pixels, np.full((64, 96, 1), 255, np.uint8)], axis=2)
    forms = [
        path,
        path.read_bytes(),
        bytearray(path.read_bytes()),
        encoded(pixels, "BMP"),
        Image.open(path),
        pixels,
        pixels.astype(np.float32) / 255,
        opaque,
        lambda: pixels,
        Document(image=str(path), id="named"),
        {"image": [path]},
    ]
    assert len({key(mini, form) for form in forms}) == 1


def test_any_difference_in_content_or_instruction_is_another_key(
    tiny: Path, picture: Callable[..., Any]
) -> None:
    # Guided by itself: what matters here is that something says which tokens are kept.
    mini = Reranker.from_pretrained(tiny, keep_ratio=0.5, embedder=tiny, dtype="float32")
    pixels = picture(64, 96)
    one = pixels.copy()
    one[63, 95, 2] ^= 1
    grey = np.repeat(pixels[..., :1], 3, axis=2)
    clear = np.concatenate([pixels, np.full((64, 96, 1), 127, np.uint8)], axis=2)
    different: list[Any] = [
        pixels,
        one,
        pixels[::-1],
        pixels.reshape(96, 64, 3),
        pixels.transpose(1, 0, 2),
        grey,
        clear,
        picture(128, 96),
        {"image": pixels, "text": "words"},
        {"image": pixels, "text": "word"},
        {"image": [pixels, pixels]},
        {"video": [pixels, pixels]},
        {"video": [pixels] * 4},
        {"image": pixels, "importances": np.arange(6)},
        {"image": pixels, "importances": -np.arange(6)},
        "words",
    ]
    keys = [key(mini, document) for document in different]
    keys.append(key(mini, pixels, instruction="Another task."))
    for left, right in itertools.combinations(range(len(keys)), 2):
        assert keys[left] != keys[right], (left, right)


def test_any_difference_in_the_model_is_another_key(
    load: Callable[..., Reranker], tiny: Path, tmp_path: Path, picture: Callable[..., Any]
) -> None:
    pixels = picture(64, 64)
    rerankers = {
        "as it is": load(),
        "profile": load(profile="dense"),
        "band": load(profile=Profile(exit_layer=4, band=(1, 4))),
        "keep ratio": load(keep_ratio=0.5, embedder=tiny),
        "another keep ratio": load(keep_ratio=0.25, embedder=tiny),
        "embedder": load(keep_ratio=0.5, embedder=other_weights(tiny, tmp_path / "embedder")),
        "dtype": load(dtype="bfloat16"),
        "backend": load(backend="sdpa"),
        "codec": load(cache=Cache(codec="int8")),
        "tenant": load().for_tenant("a"),
        "another tenant": load().for_tenant("b"),
        "weights": load(other_weights(tiny, tmp_path / "weights")),
        "tokenizer": load(other_tokenizer(tiny, tmp_path / "tokenizer")),
        "normalisation": load(other_normalisation(tiny, tmp_path / "pixels")),
    }
    keys = {name: key(reranker, pixels) for name, reranker in rerankers.items()}
    assert len(set(keys.values())) == len(keys), keys
    assert len({found.partition("-")[0] for found in keys.values()}) == len(keys)
    assert key(load(), pixels) == keys["as it is"]


def other_weights(tiny: Path, out: Path) -> Path:
    """The same checkpoint with one number changed."""
    shutil.copytree(tiny, out)
    file = next(out.glob("*.safetensors"))
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("layers.0.mlp.up_proj.weight"))
    weights[name][0, 0] += 1
    save_file(weights, file, {"format": "pt"})
    return out


def other_tokenizer(tiny: Path, out: Path) -> Path:
    """The last merge left out: the header stays as it is, some document's text does not."""
    shutil.copytree(tiny, out)
    file = out / "tokenizer.json"
    parts = json.loads(file.read_text())
    parts["model"]["merges"].pop()
    file.write_text(json.dumps(parts))
    return out


def other_normalisation(tiny: Path, out: Path) -> Path:
    shutil.copytree(tiny, out)
    file = out / "preprocessor_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "image_mean": [0.4, 0.5, 0.5]}))
    return out
