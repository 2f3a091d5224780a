"""SMART: the score is the published formula, its identity all that changes a vector."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from minireranker.engine.embedder import Embedder
from minireranker.errors import CheckpointError, ConfigurationError, EmptyQueryError, InputError
from minireranker.retrieval.late_interaction import Adapter, Smart

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
PADS = "<|image_pad|>", "<|video_pad|>"


@pytest.fixture(scope="module")
def embedder(tiny: Path) -> Embedder:
    return Embedder.from_pretrained(tiny, dtype="float32")


@pytest.fixture(scope="module")
def names(tiny: Path) -> dict[str, int]:
    added = json.loads((tiny / "tokenizer.json").read_text())["added_tokens"]
    return {token["content"]: token["id"] for token in added}


def pixels(seed: int) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (*random.integers(32, 130, 2), 3), dtype=np.uint8)


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.strip)
PICTURES = st.integers(0, 50).map(pixels)
CONTENTS = st.one_of(
    TEXTS,
    st.builds(lambda image: {"image": image}, PICTURES),
    st.builds(lambda text, image: {"text": text, "image": image}, TEXTS, PICTURES),
)


def published(
    embedder: Embedder, names: dict[str, int], query: Any, document: Any, adapter: Any = None
) -> float:
    """Section SMART of the design: kept states with unit length, mean of maxima, plus a cosine."""
    q, d = embedder.encode([query, document], states=True)
    ids = [[names[name] for name in SPECIAL] for _ in range(2)]
    ids[0] += [names[p] for p in PADS] if isinstance(query, dict) and len(query) == 2 else []
    h = []
    for item, dropped in zip((q, d), ids, strict=True):
        kept = [row for row, token in zip(item.states.numpy(), item.token_ids, strict=True)
                if token not in dropped]  # fmt: skip
        rows = np.stack(kept) if adapter is None else adapter(np.stack(kept))
        h.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    return float(q.pooled @ d.pooled + (h[0] @ h[1].T).max(1).mean())


@settings(max_examples=15, deadline=None)
@given(queries=st.lists(CONTENTS, min_size=1, max_size=2), documents=st.lists(CONTENTS, min_size=1))
def test_the_score_is_the_published_formula(
    embedder: Embedder, names: dict[str, int], queries: list[Any], documents: list[Any]
) -> None:
    smart, documents = Smart(embedder), documents[:3]
    found = smart.score(smart.encode_queries(queries), smart.encode_documents(documents).vectors)
    wanted = [[published(embedder, names, q, d) for d in documents] for q in queries]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_an_adapter_is_a_norm_and_a_matrix_in_front_of_the_late_score_alone(
    embedder: Embedder, names: dict[str, int]
) -> None:
    adapter = trained(embedder.hidden_size)
    weights = {name: each.detach().numpy() for name, each in adapter.state_dict().items()}

    def by_hand(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        return (x * weights["norm.weight"] + weights["norm.bias"]) @ weights["linear.weight"].T

    smart = Smart(embedder, adapter)
    query, document = "find the red circle", {"text": "a chart", "image": pixels(3)}
    found = smart.score(smart.encode_queries(query), smart.encode_documents([document]).vectors)
    assert found[0, 0] == pytest.approx(
        published(embedder, names, query, document, by_hand), abs=1e-5
    )
    assert abs(found[0, 0] - published(embedder, names, query, document)) > 1e-3


def trained(dim: int, seed: int = 1) -> Adapter:
    """As if it had been: random numbers."""
    adapter, random = Adapter(dim), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in adapter.parameters():
            each.add_(torch.randn(each.shape, generator=random) / 5)
    return adapter


class NothingButSpecial(Embedder):
    """Whose every token is a special one."""

    @property
    def special_ids(self) -> frozenset[int]:
        return frozenset(range(5000))


def test_where_nothing_is_left_the_pooled_vector_stands_in(tiny: Path) -> None:
    smart = Smart(NothingButSpecial.from_pretrained(tiny, dtype="float32"))
    vectors = smart.encode_documents(["a red circle", {"image": pixels(1)}]).vectors
    assert vectors.pooled is not None
    torch.testing.assert_close(vectors.vectors, vectors.pooled, rtol=0, atol=1e-6)


def test_only_a_query_of_text_and_image_loses_its_image(embedder: Embedder) -> None:
    smart, image = Smart(embedder), pixels(2)

    def tokens(query: Any) -> int:
        return len(smart.encode_queries(query).vectors)

    assert tokens({"text": "red", "image": image}) == tokens("red")
    assert tokens({"image": image}) > tokens("red") - 1
    assert tokens({"text": "  ", "image": image}) >= tokens({"image": image})
    both = smart.encode_documents([{"text": "red", "image": image}]).vectors
    assert len(both.vectors) > tokens("red")


def test_company_changes_nothing(embedder: Embedder) -> None:
    smart = Smart(embedder)
    documents = ["a", "a long text about many red circles and a blue square", {"image": pixels(9)}]
    documents = (documents * 7)[:20]  # more than one part
    together = smart.encode_documents(documents).vectors
    for at, document in enumerate(documents[:3] + documents[-2:], start=0):
        place = at if at < 3 else len(documents) - 5 + at
        alone = smart.encode_documents([document]).vectors
        torch.testing.assert_close(together.item(place), alone.vectors, rtol=0, atol=2e-6)
        assert together.pooled is not None
        assert alone.pooled is not None
        torch.testing.assert_close(together.pooled[place], alone.pooled[0], rtol=0, atol=2e-6)


def test_one_pass_also_says_what_visual_tokens_are_worth(embedder: Embedder) -> None:
    documents = [{"image": pixels(4)}, "words", {"image": [pixels(5), pixels(6)]}]
    found = Smart(embedder).encode_documents(documents, importances=True).importances
    wanted = embedder.encode(documents, importances=True)
    assert found is not None
    assert [len(each) for each in found] == [1, 0, 2]
    for ours, item in zip(found, wanted, strict=True):
        assert item is not None
        for left, right in zip(ours, item.importances, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-7)
    assert Smart(embedder).encode_documents(documents[:1]).importances is None


def test_a_bad_document_is_named_and_the_others_go_on(embedder: Embedder) -> None:
    bad = {"image": b"no image", "id": "broken"}
    documents: list[Any] = ["one"] * 17 + [bad, "two", None]
    found = Smart(embedder).encode_documents(documents)
    assert found.places == (*range(17), 18)
    assert [(each.index, each.id) for each in found.failed] == [(17, "broken"), (19, None)]
    assert len(found.vectors) == 18
    alone = Smart(embedder).encode_documents([bad])
    assert len(alone.vectors) == 0
    assert alone.vectors.dim == embedder.hidden_size
    queries = Smart(embedder).encode_queries("a")
    assert Smart(embedder).score(queries, alone.vectors).shape == (1, 0)


def test_a_bad_query_raises_and_is_counted(embedder: Embedder) -> None:
    smart = Smart(embedder)
    with pytest.raises(EmptyQueryError, match="query 1"):
        smart.encode_queries(["red", "  "])
    with pytest.raises(InputError, match="query 2: image of 3 bytes"):
        smart.encode_queries(["red", "blue", {"image": b"abc"}])
    with pytest.raises(ConfigurationError, match="instruction"):
        smart.encode_queries("red", instruction=3)  # type: ignore[arg-type]


def test_an_instruction_changes_a_query(embedder: Embedder) -> None:
    smart = Smart(embedder)
    plain = smart.encode_queries("red")
    told = smart.encode_queries("red", instruction="Find the picture.")
    assert len(plain.vectors) != len(told.vectors) or not torch.equal(plain.vectors, told.vectors)


def test_everything_that_changes_a_vector_changes_the_identity(
    tiny: Path, embedder: Embedder
) -> None:
    load: Callable[..., Embedder] = Embedder.from_pretrained
    told = load(tiny, dtype="float32", instruction="Represent the page.")
    encoders = [
        Smart(embedder),
        Smart(embedder, trained(64)),
        Smart(embedder, trained(64, seed=2)),
        Smart(told),
        Smart(load(tiny, dtype="bfloat16")),
    ]
    assert len({encoder.identity for encoder in encoders}) == len(encoders)
    assert Smart(load(tiny, dtype="float32"), trained(64)).identity == encoders[1].identity


def test_an_adapter_is_kept_in_a_file(tmp_path: Path, embedder: Embedder) -> None:
    adapter = trained(embedder.hidden_size)
    adapter.save(tmp_path / "adapter.safetensors")
    again = Adapter.load(tmp_path / "adapter.safetensors")
    assert again.digest == adapter.digest
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.safetensors"]
    states = torch.randn(3, embedder.hidden_size)
    assert torch.equal(again(states), adapter(states))
    torch.testing.assert_close(
        Adapter(8)(states[:, :8]), torch.nn.functional.layer_norm(states[:, :8], (8,))
    )


def test_what_is_no_adapter_is_refused(tmp_path: Path, embedder: Embedder, tiny: Path) -> None:
    with pytest.raises(ConfigurationError, match="8 wide"):
        Smart(embedder, Adapter(8))
    (tmp_path / "text").write_text("no tensors")
    for file in (tmp_path / "text", tmp_path / "absent"):
        with pytest.raises(CheckpointError, match="no adapter can be read"):
            Adapter.load(file)
    with pytest.raises(CheckpointError, match="an adapter is"):
        Adapter.load(tiny / "model.safetensors")
    whole = Adapter(8).state_dict()
    for norm in (torch.tensor(1.0), torch.ones(0), torch.ones(8, 1), torch.ones(9)):
        save_file({**whole, "norm.weight": norm}, tmp_path / "unfit")
        with pytest.raises(CheckpointError, match="do not fit together"):
            Adapter.load(tmp_path / "unfit")
    broken = Adapter(8)
    with torch.no_grad():
        broken.linear.weight[0, 0] = float("nan")
    broken.save(tmp_path / "nan")
    with pytest.raises(CheckpointError, match="NaN"):
        Adapter.load(tmp_path / "nan")
