"""MetaEmbed: the published score in every group, the dial, and what is refused."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from minireranker.engine.embedder import Embedder
from minireranker.errors import CheckpointError, ConfigurationError, EmptyQueryError
from minireranker.retrieval.late_interaction import GROUPS, MetaEmbed, MetaTokens
from minireranker.retrieval.vectors import TokenVectors


@pytest.fixture(scope="module")
def embedder(tiny: Path) -> Embedder:
    return Embedder.from_pretrained(tiny, dtype="float32")


@pytest.fixture(scope="module")
def tokens() -> MetaTokens:
    """Far apart, as trained ones are: untrained they are so small that all states are alike."""
    drawn = MetaTokens.random(64, 5)
    return MetaTokens(drawn.query * 20, drawn.candidate * 20)


def pixels(seed: int) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (*random.integers(32, 130, 2), 3), dtype=np.uint8)


CONTENTS = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.strip),
    st.builds(lambda seed: {"image": pixels(seed)}, st.integers(0, 50)),
    st.builds(lambda seed: {"text": "what is it", "image": pixels(seed)}, st.integers(0, 50)),
)


def published(
    embedder: Embedder, tokens: MetaTokens, query: Any, document: Any, group: tuple[int, int]
) -> float:
    """Section MetaEmbed of the design: all 80 behind each input, a query's 16 against 64."""
    appended = torch.cat((tokens.query, tokens.candidate))
    q, d = (item.states.numpy()[-80:] for item in
            embedder.encode([query, document], states=True, appended=appended))  # fmt: skip
    q, d = q[:16][: group[0]], d[16:][: group[1]]
    q = q / np.linalg.norm(q, axis=1, keepdims=True)
    d = d / np.linalg.norm(d, axis=1, keepdims=True)
    return float((q @ d.T).max(1).sum())


@settings(max_examples=12, deadline=None)
@given(
    queries=st.lists(CONTENTS, min_size=1, max_size=2),
    documents=st.lists(CONTENTS, min_size=1, max_size=3),
    group=st.one_of(st.sampled_from(GROUPS), st.tuples(st.integers(1, 16), st.integers(1, 64))),
)
def test_the_score_is_the_published_formula(
    embedder: Embedder,
    tokens: MetaTokens,
    queries: list[Any],
    documents: list[Any],
    group: tuple[int, int],
) -> None:
    meta = MetaEmbed(embedder, tokens, group)
    found = meta.score(meta.encode_queries(queries), meta.encode_documents(documents).vectors)
    wanted = [[published(embedder, tokens, q, d, group) for d in documents] for q in queries]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_each_group_is_a_prefix_of_the_next(embedder: Embedder, tokens: MetaTokens) -> None:
    documents: list[Any] = ["a red circle", {"image": pixels(1)}]
    found = []
    for group in GROUPS:
        meta = MetaEmbed(embedder, tokens, group)
        found.append((meta.encode_queries("red"), meta.encode_documents(documents).vectors))
    for at, (small, large) in enumerate(pairwise(found)):
        for less, more in zip(small, large, strict=True):
            for item in range(len(less)):
                left, right = less.item(item), more.item(item)
                assert len(left) < len(right)
                torch.testing.assert_close(left, right[: len(left)], rtol=0, atol=5e-6)
        assert (len(small[0].item(0)), len(small[1].item(0))) == GROUPS[at]


def test_what_is_stored_can_be_searched_by_any_smaller_group(
    embedder: Embedder, tokens: MetaTokens
) -> None:
    full = MetaEmbed(embedder, tokens)
    documents = full.encode_documents(["a red circle", "a table", {"image": pixels(1)}]).vectors
    queries = full.encode_queries(["red", "what is in the table"])
    for group in GROUPS:
        dialled, direct = full.with_group(group), MetaEmbed(embedder, tokens, group)
        assert dialled.identity == full.identity
        assert (direct.identity == full.identity) is (group[1] == 64)
        wanted = direct.score(
            direct.encode_queries(["red", "what is in the table"]),
            direct.encode_documents(["a red circle", "a table", {"image": pixels(1)}]).vectors,
        )
        np.testing.assert_allclose(dialled.score(queries, documents), wanted, rtol=0, atol=1e-4)
    assert queries.pooled is not None
    assert documents.pooled is not None
    np.testing.assert_allclose(
        full.with_group((1, 1)).score(queries, documents),
        (queries.pooled @ documents.pooled.T).numpy(),
        rtol=0,
        atol=1e-6,
    )


def test_more_than_is_stored_cannot_be_searched(embedder: Embedder, tokens: MetaTokens) -> None:
    small, full = MetaEmbed(embedder, tokens, (8, 16)), MetaEmbed(embedder, tokens)
    documents = small.encode_documents(["a", "b"]).vectors
    with pytest.raises(ConfigurationError, match=r"stored with 16 vectors.*at most 16"):
        full.score(full.encode_queries("red"), documents)
    with pytest.raises(ConfigurationError, match="encoded with 1 vectors"):
        small.score(small.with_group((1, 1)).encode_queries("red"), documents)
    with pytest.raises(ConfigurationError, match="store at least as many"):
        small.with_group((16, 64))
    with pytest.raises(ConfigurationError, match="store at least as many"):
        MetaEmbed(embedder, tokens, (8, 16), stored=8)


@pytest.mark.parametrize(
    "group", [(0, 1), (1, 0), (17, 64), (16, 65), (1,), "11", (1.0, 2), (True, 4), None, (1, 2, 3)]
)
def test_a_group_outside_is_refused(embedder: Embedder, tokens: MetaTokens, group: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"group .*\(16, 64\)"):
        MetaEmbed(embedder, tokens, group)


def test_rows_of_a_pool_in_any_order(embedder: Embedder, tokens: MetaTokens) -> None:
    meta = MetaEmbed(embedder, tokens, (2, 4), stored=8)
    queries = meta.encode_queries(["red", "blue"])
    documents = meta.encode_documents(["a circle", "a square", "a star"]).vectors
    whole = meta.score(queries, documents)
    pool = torch.cat((torch.ones(5, 64), documents.vectors))
    rows = torch.tensor([2, 0, 2])
    found = meta.score_rows(
        queries, pool, None, 5 + documents.starts[rows], documents.lengths[rows], None
    )
    np.testing.assert_allclose(found, whole[:, rows], rtol=0, atol=1e-6)


def test_company_changes_nothing(embedder: Embedder, tokens: MetaTokens) -> None:
    meta = MetaEmbed(embedder, tokens)
    documents = ["a", "a long text about many red circles", {"image": pixels(9)}] * 6
    together = meta.encode_documents(documents).vectors
    for place in (0, 1, 2, 17):
        alone = meta.encode_documents([documents[place]]).vectors
        torch.testing.assert_close(together.item(place), alone.vectors, rtol=0, atol=5e-6)


def test_tokens_beside_a_checkpoint_make_one(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match=r"no metaembed\.safetensors.*initialise"):
        MetaEmbed.from_pretrained(folder)
    made = MetaEmbed.initialise(Embedder.from_pretrained(folder, dtype="float32"), seed=3)
    made.save(folder)
    meta = MetaEmbed.from_pretrained(folder, dtype="float32", group=(4, 8))
    assert meta.group == (4, 8)
    assert torch.equal(meta.tokens.query, made.tokens.query)
    assert torch.equal(meta.tokens.candidate, made.tokens.candidate)
    settings = json.loads((folder / "metaembed.json").read_text())
    assert settings["groups"] == [[1, 1], [2, 4], [4, 8], [8, 16], [16, 64]]
    wanted = made.with_group((4, 8)).score(
        made.encode_queries("red"), made.encode_documents(["a"]).vectors
    )
    found = meta.score(meta.encode_queries("red"), meta.encode_documents(["a"]).vectors)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_damaged_tokens_are_refused(tmp_path: Path, embedder: Embedder) -> None:
    with pytest.raises(ConfigurationError, match="8 wide"):
        MetaEmbed(embedder, MetaTokens.random(8, 0))
    MetaTokens.random(8, 0).save(tmp_path)
    path = tmp_path / "metaembed.safetensors"
    tensors = load_file(path)
    for broken in (
        {"query": tensors["query"]},
        tensors | {"candidate": tensors["candidate"][:5].clone()},
        tensors | {"query": torch.full_like(tensors["query"], float("nan"))},
        tensors | {"query": torch.tensor(1.0)},
        {name: torch.cat((each, each), dim=1) for name, each in tensors.items()},
    ):
        save_file(broken, path)
        with pytest.raises(CheckpointError):
            MetaTokens.load(tmp_path)
    save_file(tensors, path)
    assert MetaTokens.load(tmp_path).width == 8
    for text in ("{", "[" * 100_000):
        (tmp_path / "metaembed.json").write_text(text)
        with pytest.raises(CheckpointError, match="copy both again"):
            MetaTokens.load(tmp_path)


def test_everything_that_changes_a_vector_changes_the_identity(
    tiny: Path, embedder: Embedder, tokens: MetaTokens
) -> None:
    other = MetaTokens(tokens.query, tokens.candidate.clone())
    other.candidate[63, 63] += 1e-3
    encoders = [
        MetaEmbed(embedder, tokens),
        MetaEmbed(embedder, other),
        MetaEmbed(embedder, tokens, (16, 63)),
        MetaEmbed(Embedder.from_pretrained(tiny, dtype="bfloat16"), tokens),
    ]
    assert len({encoder.identity for encoder in encoders}) == len(encoders)
    assert MetaEmbed(embedder, tokens, (3, 5), stored=64).identity == encoders[0].identity


def test_bad_inputs(embedder: Embedder, tokens: MetaTokens) -> None:
    meta = MetaEmbed(embedder, tokens, (1, 1))
    found = meta.encode_documents(["a", {"image": b"x"}, "b"])
    assert found.places == (0, 2)
    assert [each.index for each in found.failed] == [1]
    with pytest.raises(EmptyQueryError):
        meta.encode_queries("")
    narrow = TokenVectors(torch.ones(1, 8), np.array([0, 1]))
    with pytest.raises(ConfigurationError, match="one encoder"):
        meta.score(meta.encode_queries("a"), narrow)
