"""A cascade: every stage's scores are those of its system, and the last one decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minireranker import Document, Reranker
from minireranker.engine.embedder import Embedder
from minireranker.errors import (
    ConfigurationError,
    EmptyQueryError,
    InputError,
    MediaError,
    UnknownDocumentError,
)
from minireranker.retrieval.building import build_index
from minireranker.retrieval.cascade import Cascade
from minireranker.retrieval.late_interaction import ColModernVBert, Pooled, Smart
from minireranker.retrieval.late_interaction.synth import synthesize_colmodernvbert
from minireranker.retrieval.rerank import Rerank
from minireranker.retrieval.search_result import SearchResult
from minireranker.retrieval.stages import Rescore, Retrieve
from minireranker.retrieval.vector_index import VectorIndex

QUERIES = ["a red bicycle", "what a map shows", "the year of the treaty"]
WORDS = ["red", "bicycle", "map", "treaty", "year", "river", "boat", "of", "the"]
Draw = Callable[..., Any]


def texts(count: int) -> list[Document]:
    random = np.random.default_rng(3)
    lines = (" ".join(random.choice(WORDS, 9)) for _ in range(count))
    return [Document(text=line, id=f"text {at}") for at, line in enumerate(lines)]


def make(path: Path, encoder: Any, dtype: str = "float32") -> VectorIndex:
    return VectorIndex.create(
        path,
        identity=encoder.identity,
        encoder=encoder.name,
        dim=encoder.dim,
        pooled_dim=encoder.pooled_dim,
        dtype=dtype,
    )


@dataclass
class Corpus:
    documents: list[Document]
    pooled: Pooled
    smart: Smart
    flat: VectorIndex
    """Of ``pooled``."""
    index: VectorIndex
    """Of ``smart``."""


@pytest.fixture(scope="module")
def embedder(tiny: Path) -> Embedder:
    return Embedder.from_pretrained(tiny, dtype="float32")


@pytest.fixture(scope="module")
def corpus(
    embedder: Embedder, picture: Draw, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Corpus]:
    pictures = [Document(image=picture(64, 96, at), id=f"picture {at}") for at in range(4)]
    documents = texts(9) + pictures
    pooled, smart = Pooled(embedder), Smart(embedder)
    folder = tmp_path_factory.mktemp("indexes")
    with make(folder / "flat", pooled) as flat, make(folder / "index", smart) as index:
        build_index(documents, pooled, flat)
        build_index(documents, smart, index)
        yield Corpus(documents, pooled, smart, flat, index)


def by_id(ids: Any, scores: Any) -> dict[str, float]:
    return dict(zip(map(str, ids), map(float, scores), strict=True))


def close(found: dict[str, float], wanted: dict[str, float], tolerance: float = 1e-5) -> None:
    assert found.keys() == wanted.keys()
    for name, score in found.items():
        assert score == pytest.approx(wanted[name], abs=tolerance), name


def test_with_room_for_all_the_reranker_alone_decides(corpus: Corpus, mini: Reranker) -> None:
    stages = [
        Retrieve(corpus.index, corpus.smart, None),
        Rescore(corpus.index, corpus.smart, None),
        Rerank(mini, None, {document.id: document for document in corpus.documents}),
    ]
    for query in QUERIES:
        found = Cascade(stages).search(query)
        wanted = mini.rank(query, corpus.documents)
        assert [hit.id for hit in found] == [hit.id for hit in wanted]
        assert [hit.score for hit in found] == [hit.score for hit in wanted]
        assert [hit.probability for hit in found] == pytest.approx([h.probability for h in wanted])
        assert [hit.rank for hit in found] == list(range(1, len(corpus.documents) + 1))
        assert not found.failed


def test_every_stage_has_the_scores_of_its_system(corpus: Corpus, mini: Reranker) -> None:
    documents = {document.id: document for document in corpus.documents}
    stages = [
        Retrieve(corpus.flat, corpus.pooled, 8),
        Rescore(corpus.index, corpus.smart, 5),
        Rerank(mini, 3, documents),
    ]
    found = Cascade(stages).search(QUERIES[0])
    retrieved, rescored, reranked = found.stages
    assert [(s.name, s.system) for s in found.stages] == [
        ("retrieve", "pooled"),
        ("rescore", "smart"),
        ("rerank", "reranker"),
    ]
    assert [(s.candidates, s.kept) for s in found.stages] == [(13, 8), (8, 5), (5, 3)]
    for encoder, stage in ((corpus.pooled, retrieved), (corpus.smart, rescored)):
        own = [documents[name] for name in stage.ids]
        vectors = encoder.encode_documents(own).vectors
        wanted = encoder.score(encoder.encode_queries(QUERIES[0]), vectors)[0]
        close(by_id(stage.ids, stage.scores), by_id(stage.ids, wanted))
    everything = corpus.pooled.score(
        corpus.pooled.encode_queries(QUERIES[0]),
        corpus.pooled.encode_documents(corpus.documents).vectors,
    )[0]
    assert retrieved.scores.min() >= np.sort(everything)[-8] - 1e-6, "no better one was left out"
    assert set(rescored.ids) == set(retrieved.ids)
    assert set(reranked.ids) == set(rescored.ids[:5])
    wanted = mini.score(QUERIES[0], [documents[name] for name in reranked.ids])[0]
    np.testing.assert_array_equal(reranked.scores, wanted)
    for stage in found.stages:
        assert stage.scores.dtype == np.float32
        assert (np.diff(stage.scores) <= 0).all()
    for hit in found:
        assert list(hit.scores) == ["retrieve", "rescore", "rerank"]
        for stage in found.stages:
            assert hit.scores[stage.name] == by_id(stage.ids, stage.scores)[hit.id]
        assert hit.score == hit.scores["rerank"]
        assert hit.probability == pytest.approx(1 / (1 + math.exp(-hit.score)))


class Counted:
    """An encoder that counts what it is asked to encode."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.calls = inner, list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode_queries(self, queries: Any, **asked: Any) -> Any:
        self.calls.append(len(queries))
        return self.inner.encode_queries(queries, **asked)


def test_queries_are_encoded_once_an_encoder_and_the_time_is_told(corpus: Corpus) -> None:
    smart = Counted(corpus.smart)
    cascade = Cascade([Retrieve(corpus.index, smart, 6), Rescore(corpus.index, smart, 4)])
    first, second = cascade.search(QUERIES[0]).stages
    assert smart.calls == [1]
    assert first.encode_seconds > 0
    assert first.search_seconds > 0
    assert first.seconds == first.encode_seconds + first.search_seconds
    assert (second.encode_seconds, second.search_seconds > 0) == (0.0, True)
    cascade.search_many(QUERIES)
    assert smart.calls == [1, 3]


def test_several_queries_are_as_each_alone(corpus: Corpus, mini: Reranker) -> None:
    documents = {document.id: document for document in corpus.documents}
    stages = [
        Retrieve(corpus.flat, corpus.pooled, 7),
        Rescore(corpus.index, corpus.smart, 5),
        Rerank(mini, 4, documents),
    ]
    cascade = Cascade(stages)
    together = cascade.search_many(QUERIES)
    alone = [cascade.search(query) for query in QUERIES]
    assert [[hit.id for hit in found] for found in together] == [[h.id for h in f] for f in alone]
    for found, wanted in zip(together, alone, strict=True):
        for own, other in zip(found.stages, wanted.stages, strict=True):
            close(by_id(own.ids, own.scores), by_id(other.ids, other.scores))
    assert cascade.search_many([]) == []


def test_a_rescore_looks_at_all_documents_where_it_comes_first(corpus: Corpus) -> None:
    queries = corpus.smart.encode_queries(QUERIES)
    wanted = corpus.smart.score(queries, corpus.smart.encode_documents(corpus.documents).vectors)
    names = [document.id for document in corpus.documents]
    for found, row in zip(
        Cascade([Rescore(corpus.index, corpus.smart, 2)]).search_many(QUERIES), wanted, strict=True
    ):
        (stage,) = found.stages
        assert (stage.candidates, stage.kept, len(found)) == (13, 2, 2)
        close(by_id(stage.ids, stage.scores), by_id(names, row))
        assert found[0].id == names[int(np.argmax(row))]


def test_a_system_without_pooled_vectors_joined_by_ids(corpus: Corpus, tmp_path: Path) -> None:
    encoder = ColModernVBert.from_pretrained(synthesize_colmodernvbert(tmp_path / "model"))
    with make(tmp_path / "index", encoder) as index:
        build_index(corpus.documents, encoder, index)
        with pytest.raises(ConfigurationError, match=r"no pooled vectors.*begin with Rescore"):
            Retrieve(index, encoder)
        stages = [Retrieve(corpus.flat, corpus.pooled, 6), Rescore(index, encoder, 3)]
        found = Cascade(stages).search(QUERIES[1])
        best = Cascade([Rescore(index, encoder, None)]).search(QUERIES[1])
        left = set(found.stages[0].ids)
        assert [hit.id for hit in found] == [hit.id for hit in best if hit.id in left][:3]


def test_stages_of_one_kind_have_names_of_their_own(corpus: Corpus) -> None:
    stages = [
        Rescore(corpus.flat, corpus.pooled, 9),
        Rescore(corpus.index, corpus.smart, 9),
        Rescore(corpus.flat, corpus.pooled, 9),
    ]
    found = Cascade(stages).search(QUERIES[0])
    assert list(found[0].scores) == ["rescore", "rescore-2", "rescore-3"]
    assert found[0].scores["rescore"] == found[0].scores["rescore-3"]


def test_a_document_deleted_between_stages_is_named(
    corpus: Corpus, mini: Reranker, tmp_path: Path
) -> None:
    with make(tmp_path / "index", corpus.smart) as index:
        build_index(corpus.documents[:6], corpus.smart, index)
        gone = {document.id for document in corpus.documents[6:]}
        stages = [
            Retrieve(corpus.flat, corpus.pooled, None),
            Rescore(index, corpus.smart, None),
            Rerank(mini, None),
        ]
        found = Cascade(stages).search(QUERIES[0])
        stage = found.stages[1]
        assert (stage.candidates, len(stage.ids), stage.kept) == (13, 6, 6)
        assert {failed.id for failed in stage.failed} == gone
        for failed in stage.failed:
            assert isinstance(failed.error, UnknownDocumentError)
            assert found.stages[0].ids[failed.index] == failed.id
        assert len(found) == 6
        index.delete([document.id for document in corpus.documents])
        found = Cascade(stages).search(QUERIES[0])
        assert (len(found), len(found.failed), found.stages[2].candidates) == (0, 13, 0)


def test_what_cannot_be_reranked_takes_nobodys_place(
    corpus: Corpus, mini: Reranker, tmp_path: Path
) -> None:
    documents: dict[str, Any] = {document.id: document for document in corpus.documents}
    cascade = Cascade([Retrieve(corpus.index, corpus.smart, 6), Rerank(mini, 3, documents)])
    before = cascade.search(QUERIES[0])
    (tmp_path / "bad.png").write_text("no picture")
    documents[before[0].id] = tmp_path / "bad.png"
    found = cascade.search_many([QUERIES[0]] * 2)
    for result in found:
        (failed,) = result.failed
        assert (failed.id, type(failed.error)) == (before[0].id, MediaError)
        assert result.stages[0].ids[failed.index] == failed.id
        rest = [hit.id for hit in before[1:]]
        assert [hit.id for hit in result][:2] == rest
        assert (len(result), result.stages[1].candidates, len(result.stages[1].ids)) == (3, 6, 5)


def test_an_id_is_looked_up_in_three_places(
    corpus: Corpus, mini: Reranker, tmp_path: Path, picture: Draw
) -> None:
    known, given, kept, lost = (f"place {at}" for at in range(4))
    with make(tmp_path / "index", corpus.pooled) as index:
        items = [Document(image=picture(64, 64, at), id=f"place {at}") for at in range(4)]
        items[2] = Document(text="a boat on the river", id=kept)
        build_index(items, corpus.pooled, index)
        mini.index(items[:1])
        stages = [Retrieve(index, corpus.pooled), Rerank(mini, None, {given: items[1]})]
        found = Cascade(stages).search(QUERIES[0])
        assert {hit.id for hit in found} == {known, given, kept}
        wanted = mini.score(QUERIES[0], items[:3])[0]
        close({hit.id: hit.score for hit in found}, by_id([known, given, kept], wanted), 0)
        (failed,) = found.failed
        assert (failed.id, type(failed.error)) == (lost, UnknownDocumentError)
        assert "Rerank(documents=" in str(failed.error)


def test_an_entry_that_is_gone_is_made_again_from_what_was_given(
    corpus: Corpus, tiny: Path
) -> None:
    reranker = Reranker.from_pretrained(tiny, dtype="float32")
    pictures = corpus.documents[-4:]
    reranker.cache.delete(reranker.index(pictures).keys)
    stages = [Rescore(corpus.index, corpus.smart, None)]
    found = Cascade([*stages, Rerank(reranker, None)]).search(QUERIES[0])
    assert {hit.id for hit in found} == {document.id for document in corpus.documents[:9]}
    documents = {document.id: document for document in pictures}
    found = Cascade([*stages, Rerank(reranker, None, documents)]).search(QUERIES[0])
    assert (len(found), found.failed) == (13, ())


def test_an_index_without_documents_gives_no_hits(
    corpus: Corpus, mini: Reranker, tmp_path: Path
) -> None:
    with make(tmp_path / "index", corpus.smart) as index:
        for first in (Retrieve(index, corpus.smart), Rescore(index, corpus.smart, 1000)):
            stages = [first, Rescore(index, corpus.smart), Rerank(mini)]
            found = Cascade(stages).search(QUERIES[0])
            assert (list(found), found.failed, found.hits[:1]) == ([], (), ())
            assert [(s.candidates, s.kept) for s in found.stages] == [(0, 0)] * 3


@pytest.mark.parametrize("top_k", [0, -1, "ten", 1.5])
def test_a_top_k_that_is_no_count(corpus: Corpus, mini: Reranker, top_k: Any) -> None:
    for stage in (
        lambda: Retrieve(corpus.index, corpus.smart, top_k),
        lambda: Rescore(corpus.index, corpus.smart, top_k),
        lambda: Rerank(mini, top_k),
    ):
        with pytest.raises(ConfigurationError, match=r"top_k = .*1 or more"):
            stage()


def test_another_encoder_than_the_indexs(corpus: Corpus) -> None:
    for stage in (Retrieve, Rescore):
        with pytest.raises(ConfigurationError, match=r"holds vectors of smart.*encoder is pooled"):
            stage(corpus.index, corpus.pooled)
    with pytest.raises(ConfigurationError, match="holds vectors of pooled"):
        build_index(corpus.documents, corpus.smart, corpus.flat)


def test_stages_that_cannot_follow_one_another(corpus: Corpus, mini: Reranker) -> None:
    retrieve, rescore = Retrieve(corpus.index, corpus.smart), Rescore(corpus.index, corpus.smart)
    for stages, message in (
        ([], "begins with Retrieve"),
        ([Rerank(mini)], "begins with Retrieve"),
        ([rescore, retrieve], "stage 2 is Retrieve"),
        ([retrieve, corpus.smart], "stage 2 is Smart"),
        ([rescore, Rerank(mini, 101)], "keeps 101 of the 100 documents"),
        ([rescore, Rerank(mini, None), Rerank(mini, 101)], "stage 3"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            Cascade(stages)


def test_queries_that_cannot_be(corpus: Corpus) -> None:
    cascade = Cascade([Retrieve(corpus.flat, corpus.pooled)])
    with pytest.raises(InputError, match="search_many"):
        cascade.search(QUERIES)
    with pytest.raises(EmptyQueryError, match="query 1"):
        cascade.search_many([QUERIES[0], " "])
    with pytest.raises(ConfigurationError, match="instruction"):
        cascade.search(QUERIES[0], instruction=7)  # type: ignore[arg-type]


def test_an_instruction_is_for_encoders_and_reranker(corpus: Corpus, mini: Reranker) -> None:
    task, documents = "Find what rhymes.", {each.id: each for each in corpus.documents}
    stages = [Retrieve(corpus.flat, corpus.pooled), Rerank(mini, None, documents)]
    cascade = Cascade([stages[0]])
    assert scores(cascade.search(QUERIES[0])) != scores(
        cascade.search(QUERIES[0], instruction=task)
    )
    found = Cascade(stages).search(QUERIES[0], instruction=task)
    wanted = mini.rank(QUERIES[0], corpus.documents, instruction=task)
    assert [(hit.id, hit.score) for hit in found] == [(hit.id, hit.score) for hit in wanted]


def scores(found: SearchResult) -> list[float]:
    return [hit.score for hit in found]


def test_a_picture_as_a_query(corpus: Corpus, picture: Draw) -> None:
    cascade = Cascade([Retrieve(corpus.flat, corpus.pooled, 1)])
    found = cascade.search({"image": picture(64, 96, 2)})
    assert found[0].id == "picture 2"
    assert found[0].score == pytest.approx(1.0, abs=1e-5)
