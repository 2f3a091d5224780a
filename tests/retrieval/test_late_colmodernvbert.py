"""ColModernVBERT: what transformers' own pipeline computes, and scores as its processor does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from minireranker.configs import Limits
from minireranker.errors import (
    CheckpointError,
    ConfigurationError,
    EmptyQueryError,
    InputError,
    NonFiniteScoreError,
)
from minireranker.retrieval.late_interaction import ColModernVBert
from minireranker.retrieval.late_interaction.synth import synthesize_colmodernvbert


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize_colmodernvbert(tmp_path_factory.mktemp("colmodernvbert") / "tiny")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> ColModernVBert:
    return ColModernVBert.from_pretrained(folder, dtype="float32")


@pytest.fixture(scope="module")
def published(folder: Path) -> tuple[Any, Any]:
    """Model and processor, as the model card uses them."""
    from transformers import ColModernVBertForRetrieval, ColModernVBertProcessor

    model = ColModernVBertForRetrieval.from_pretrained(folder, dtype=torch.float32).eval()
    return model, ColModernVBertProcessor.from_pretrained(folder)


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    random = np.random.default_rng([seed, height, width])
    coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)[:height, :width]


PAGES = [pixels(200, 140), pixels(40, 60, 1), pixels(90, 300, 2), pixels(64, 64, 3)]
QUERIES = ["find the red circle", "table", "What is in the chart on the third page?"]


@torch.inference_mode()
def embedded(model: Any, made: Any) -> list[torch.Tensor]:
    """Token vectors of each row of a batch, without what is padding."""
    found = model(**made).embeddings
    return [row[mask.bool()] for row, mask in zip(found, made["attention_mask"], strict=True)]


def test_vectors_and_scores_are_those_of_transformers(
    encoder: ColModernVBert, published: tuple[Any, Any]
) -> None:
    model, processor = published
    pages = embedded(model, processor.process_images([Image.fromarray(page) for page in PAGES]))
    asked = embedded(model, processor.process_queries(QUERIES))
    documents = encoder.encode_documents(PAGES)
    queries = encoder.encode_queries(QUERIES)
    assert (documents.places, documents.failed) == ((0, 1, 2, 3), ())
    for ours, theirs in ((documents.vectors, pages), (queries, asked)):
        assert ours.vectors.dtype == torch.float32
        for at, vectors in enumerate(theirs):
            torch.testing.assert_close(ours.item(at), vectors, rtol=0, atol=2e-6)
    found = encoder.score(queries, documents.vectors)
    wanted = processor.score_retrieval(asked, pages)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=5e-5)
    assert found.std() > 0.1, "a constant would also agree"


def test_scores_of_given_vectors_are_score_retrievals(
    encoder: ColModernVBert, published: tuple[Any, Any]
) -> None:
    from minireranker.retrieval.vectors import TokenVectors

    random = torch.Generator().manual_seed(0)

    def items(*lengths: int) -> list[torch.Tensor]:
        rows = [torch.randn(count, encoder.dim, generator=random) for count in lengths]
        return [torch.nn.functional.normalize(each, dim=-1) for each in rows]

    queries, documents = items(3, 17, 1), items(40, 7, 1, 200, 33)
    found = encoder.score(TokenVectors.of(queries), TokenVectors.of(documents))
    wanted = published[1].score_retrieval(queries, documents, batch_size=1)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-5)


def test_a_text_is_tokenised_as_published(
    encoder: ColModernVBert, published: tuple[Any, Any], folder: Path
) -> None:
    model, processor = published
    text = "A page of text about a red circle and two blue squares."
    (wanted,) = embedded(model, processor(text=[text]))
    found = encoder.encode_documents([text]).vectors
    torch.testing.assert_close(found.vectors, wanted, rtol=0, atol=2e-6)
    plain = ColModernVBert.from_pretrained(folder, dtype="float32", augmented=False)
    (wanted,) = embedded(model, processor.process_queries(["red"], suffix=""))
    found = plain.encode_queries("red")
    torch.testing.assert_close(found.vectors, wanted, rtol=0, atol=2e-6)
    assert len(encoder.encode_queries("red").vectors) == len(wanted) + 10
    assert plain.identity == encoder.identity, "documents' vectors do not change"


def test_a_control_token_in_a_text_is_text(encoder: ColModernVBert) -> None:
    for name in ("<image>", "<end_of_utterance>", "[SEP]"):
        typed = encoder.encode_documents([f"a {name} b"]).vectors
        without = encoder.encode_documents(["a  b"]).vectors
        assert len(typed.vectors) > len(without.vectors) + 1, name


def test_several_images_and_a_text_stand_behind_one_another(encoder: ColModernVBert) -> None:
    parts = [encoder.encode_documents([part]).vectors.vectors for part in (*PAGES[:2], "a text")]
    found = encoder.encode_documents([{"image": PAGES[:2], "text": "a text"}]).vectors
    torch.testing.assert_close(found.vectors, torch.cat(parts), rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_company_changes_nothing_beyond_rounding(folder: Path, dtype: str) -> None:
    narrow = ColModernVBert.from_pretrained(folder, dtype=dtype, batch_tokens=1)
    wide = ColModernVBert.from_pretrained(folder, dtype=dtype, batch_tokens=100_000)
    documents: list[Any] = [*PAGES, "a short text", "red"]
    one, many = (each.encode_documents(documents).vectors for each in (narrow, wide))
    assert one.vectors.dtype == getattr(torch, dtype)
    assert np.array_equal(one.cu_seqlens, many.cu_seqlens)
    step = 2e-6 if dtype == "float32" else 0.06
    torch.testing.assert_close(one.vectors, many.vectors, rtol=0, atol=step)
    queries = wide.encode_queries(QUERIES)
    # Two different orders of summation, and yet one ranking to the reader.
    left, right = wide.score(queries, one), wide.score(queries, many)
    np.testing.assert_allclose(left, right, rtol=0.01, atol=50 * step)


def test_images_are_read_within_limits_and_bad_ones_named(
    encoder: ColModernVBert, folder: Path, tmp_path: Path
) -> None:
    Image.fromarray(PAGES[1]).save(tmp_path / "page.png")
    documents: list[Any] = [
        tmp_path / "page.png",
        {"image": tmp_path / "absent.png", "id": "lost"},
        {"image": [PAGES[0], b"broken"]},
        {"video": [PAGES[0], PAGES[0]]},
        "",
        {"id": "only a name"},
        PAGES[1],
    ]
    found = encoder.encode_documents(documents)
    assert found.places == (0, 6)
    assert torch.equal(found.vectors.item(0), found.vectors.item(1)), "a file is its pixels"
    reasons = ["absent.png", "image of 6 bytes", "no video", "no image and no text", "id of a"]
    assert [each.index for each in found.failed] == [1, 2, 3, 4, 5]
    assert found.failed[0].id == "lost"
    for each, reason in zip(found.failed, reasons, strict=True):
        assert reason in str(each.error)
    strict = ColModernVBert.from_pretrained(folder, limits=Limits(max_source_pixels=100))
    assert len(strict.encode_documents([PAGES[0]]).failed) == 1


def test_bad_queries_raise(encoder: ColModernVBert) -> None:
    with pytest.raises(EmptyQueryError, match="query 1"):
        encoder.encode_queries(["red", ""])
    with pytest.raises(InputError, match=r"query 1: .*by text"):
        encoder.encode_queries(["red", {"image": PAGES[0]}])
    with pytest.raises(InputError, match=r"query 0: .*8192 positions"):
        encoder.encode_queries("red blue " * 5_000)
    with pytest.raises(ConfigurationError, match="instruction"):
        encoder.encode_queries("red", instruction=1)  # type: ignore[arg-type]
    told = encoder.encode_queries("red", instruction="Find pages.")
    assert torch.equal(told.vectors, encoder.encode_queries("red").vectors)


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_everything_that_changes_a_vector_changes_the_identity(
    folder: Path, encoder: ColModernVBert, tmp_path: Path
) -> None:
    other = synthesize_colmodernvbert(tmp_path / "seed", seed=1)
    resized = shutil.copytree(folder, tmp_path / "resized")
    edit(
        resized / "processor_config.json",
        lambda value: value["image_processor"]["size"].update(longest_edge=128),
    )
    load = ColModernVBert.from_pretrained
    encoders = [
        encoder,
        load(other, dtype="float32"),
        load(resized, dtype="float32"),
        load(folder, dtype="bfloat16"),
        load(folder, dtype="float32", limits=Limits(min_side=5)),
    ]
    assert len({each.identity for each in encoders}) == len(encoders)
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert load(copy, dtype="float32", batch_tokens=7).identity == encoder.identity


def test_what_is_no_checkpoint_of_it_is_refused(tiny: Path, folder: Path, tmp_path: Path) -> None:
    load = ColModernVBert.from_pretrained
    with pytest.raises(CheckpointError, match="checkpoint of qwen3_vl"):
        load(tiny)
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load(tmp_path)
    with pytest.raises(ConfigurationError, match="batch_tokens"):
        load(folder, batch_tokens=0)
    copy = shutil.copytree(folder, tmp_path / "copy")
    edit(copy / "config.json", lambda value: value.update(embedding_dim=25))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(copy)
    deeper = shutil.copytree(folder, tmp_path / "deeper")
    edit(
        deeper / "config.json",
        lambda value: value["vlm_config"]["vision_config"].update(num_hidden_layers=3),
    )
    with pytest.raises(CheckpointError, match="tensors are missing"):
        load(deeper)
    (copy / "model.safetensors").unlink()
    with pytest.raises(CheckpointError):
        load(copy)


def test_vectors_that_are_no_numbers_are_a_failure(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    tensors = load_file(copy / "model.safetensors")
    tensors["embedding_proj_layer.bias"][3] = float("nan")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    broken = ColModernVBert.from_pretrained(copy, dtype="float32")
    found = broken.encode_documents(["a", PAGES[1]])
    assert [type(each.error) for each in found.failed] == [NonFiniteScoreError] * 2
    assert len(found.vectors) == 0
    with pytest.raises(NonFiniteScoreError, match="dtype"):
        broken.encode_queries("red")


def test_a_synthetic_checkpoint_is_the_same_every_time(tmp_path: Path, folder: Path) -> None:
    again = synthesize_colmodernvbert(tmp_path / "again")
    left, right = ((path / "model.safetensors").read_bytes() for path in (again, folder))
    assert left == right
    with pytest.raises(ConfigurationError, match="in use"):
        synthesize_colmodernvbert(again)
    with pytest.raises(ConfigurationError, match="tiny, 250m"):
        synthesize_colmodernvbert(tmp_path / "new", "2b")
