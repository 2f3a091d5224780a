"""Pruning guided by an embedder: which tokens are kept, where that is seen, and what goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker import Cache, Document, DocumentId, Embedder, Limits, Profile, Reranker
from minireranker.bench.oracle import FullSequenceModel
from minireranker.engine.resampling import resampled
from minireranker.errors import (
    CheckpointError,
    ConfigurationError,
    ImportanceError,
    MediaError,
    TooLongError,
)

SMALL = Limits(frame_min_pixels=4_096, frame_max_pixels=16_384, video_min_frames=2)
HALF = Profile(exit_layer=4, band=(2, 4), keep_ratio=0.5, limits=SMALL)


@pytest.fixture(scope="module")
def embedder(tiny: Path) -> Embedder:
    limits = Limits(frame_min_pixels=4_096, frame_max_pixels=16_384, video_min_frames=2)
    return Embedder.from_pretrained(tiny, dtype="float32", limits=limits)


@pytest.fixture
def guided(tiny: Path, embedder: Embedder) -> Reranker:
    return Reranker.from_pretrained(tiny, profile=HALF, embedder=embedder, dtype="float32")


@pytest.fixture
def contents(picture: Callable[..., Any]) -> list[Any]:
    return [
        picture(96, 128, 1),
        {"image": [picture(64, 64, 2), picture(128, 64, 3)], "text": "a page"},
        {"video": [picture(64, 96, n) for n in range(4)], "image": picture(64, 96, 5)},
        "only words",
    ]


def test_the_kept_tokens_are_those_the_embedder_attends_to_most(
    guided: Reranker, embedder: Embedder, contents: list[Any]
) -> None:
    ranking = guided.rank("a red circle", contents)
    assert not ranking.failed
    for hit in ranking:
        (embedding,) = embedder.encode([contents[hit.index]], importances=True)
        assert embedding is not None
        assert len(hit.visuals) == len(embedding.importances)
        for visual, worth in zip(hit.visuals, embedding.importances, strict=True):
            assert visual.grid == worth.shape
            best = np.argsort(-worth.ravel(), kind="stable")[: -(-worth.size // 2)]
            assert visual.indices.tolist() == sorted(best.tolist())


def test_scores_equal_the_oracle_and_importances_given_by_the_caller(
    guided: Reranker, embedder: Embedder, oracle: FullSequenceModel, contents: list[Any], tiny: Path
) -> None:
    scores = guided.score("a red circle", contents)[0]
    wanted = oracle.scores(guided, "a red circle", contents)
    np.testing.assert_allclose(scores, wanted, atol=1e-4 * np.ptp(wanted))
    alone = Reranker.from_pretrained(tiny, profile=HALF, dtype="float32")
    given = []
    for content in contents[:3]:
        (embedding,) = embedder.encode([content], importances=True)
        assert embedding is not None
        fields = content if isinstance(content, dict) else {"image": content}
        given.append({**fields, "importances": list(embedding.importances)})
    assert np.array_equal(alone.score("a red circle", given)[0], scores[:3])


def test_a_visual_query_is_pruned_too(
    guided: Reranker, oracle: FullSequenceModel, picture: Callable[..., Any]
) -> None:
    query, documents = picture(96, 96, 9), [picture(64, 128, 1), "words", picture(64, 64, 2)]
    scores = guided.score(query, documents)[0]
    wanted = oracle.scores(guided, query, documents)
    np.testing.assert_allclose(scores, wanted, atol=1e-4 * np.ptp(wanted))


def test_without_a_source_of_importances_only_pictures_fail(
    tiny: Path, picture: Callable[..., Any]
) -> None:
    alone = Reranker.from_pretrained(tiny, profile=HALF, dtype="float32")
    ranking = alone.rank("a circle", ["words", picture(64, 64)])
    assert [hit.index for hit in ranking] == [0]
    (failed,) = ranking.failed
    assert isinstance(failed.error, ImportanceError)
    assert "embedder=" in str(failed.error)
    assert [item.index for item in alone.index([picture(64, 64), "words"]).failed] == [0]
    everything = Reranker.from_pretrained(tiny, profile=HALF, keep_ratio=1.0, dtype="float32")
    assert not everything.rank("a circle", ["words", picture(64, 64)]).failed


def test_what_the_caller_gives_comes_before_the_embedder(
    guided: Reranker, picture: Callable[..., Any]
) -> None:
    pixels = picture(64, 128)
    worth = np.arange(8.0)
    given = [worth, None]
    (hit,) = guided.rank("q", [Document(image=[pixels, picture(64, 64)], importances=given)])
    assert hit.visuals[0].indices.tolist() == [4, 5, 6, 7]
    assert len(hit.visuals[1].indices) == 2
    (failed,) = guided.rank("q", [Document(image=[pixels], importances=given)]).failed
    assert isinstance(failed.error, ImportanceError)


def test_the_embedder_reads_a_document_once_in_its_life(
    tiny: Path, embedder: Embedder, picture: Callable[..., Any], tmp_path: Path
) -> None:
    from PIL import Image

    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture(64, 96, number)).save(paths[-1])
    import os

    for path in paths:
        os.utime(path, (1_000_000_000.5, 1_000_000_000.5))

    def load() -> Reranker:
        return Reranker.from_pretrained(
            tiny, profile=HALF, embedder=embedder, dtype="float32", cache=Cache(tmp_path / "kept")
        )

    with load().cache as cache:
        first = Reranker.from_pretrained(
            tiny, profile=HALF, embedder=embedder, dtype="float32", cache=cache
        )
        indexed = first.index(paths)
        layers = embedder._model.network.config.text.num_hidden_layers
        tokens = [len(item.token_ids) for item in embedder.encode(paths) if item is not None]
        assert indexed.work.embedder_token_layers == sum(tokens) * layers
        assert indexed.timings.embedder > 0
        before = first.rank("q", paths)
        assert before.work.embedder_token_layers == 0
    second = load()
    with second.cache:
        by_id = second.rank("q", [DocumentId(name) for name in indexed.ids if name is not None])
        assert by_id.work.embedder_token_layers == by_id.work.vision_patches == 0
        assert [hit.score for hit in by_id] == [hit.score for hit in before]
        assert all(
            np.array_equal(one.visuals[0].indices, other.visuals[0].indices)
            for one, other in zip(by_id, before, strict=True)
        )


def test_many_documents_are_read_in_packed_passes_with_the_same_choice(
    guided: Reranker, tiny: Path, embedder: Embedder, picture: Callable[..., Any]
) -> None:
    documents = [picture(64 + 32 * (n % 3), 96, n) for n in range(30)]
    guided.index(documents)
    together = guided.score("q", documents)
    single = Reranker.from_pretrained(tiny, profile=HALF, embedder=embedder, dtype="float32")
    alone = np.concatenate([single.score("q", [document]) for document in documents], axis=1)
    assert np.array_equal(together, alone)


def test_a_ranking_asks_about_many_documents_at_once_and_only_about_those_it_has_to(
    guided: Reranker, tiny: Path, embedder: Embedder, picture: Callable[..., Any]
) -> None:
    known = [picture(64, 96, n) for n in range(3)]
    guided.index([{"id": f"known {n}", "image": image} for n, image in enumerate(known)])
    own = Document(image=picture(64, 64, 50), importances=[np.arange(4.0)])
    new = [picture(64 + 32 * (n % 3), 96, n) for n in range(10, 20)]
    documents: list[Any] = [DocumentId("known 0"), own, "words", new[0], b"no picture", *new[1:4]]
    documents += [DocumentId("known 1"), "more words", *new[4:], new[0], own, DocumentId("nobody")]
    asked: list[int] = []
    plain = embedder.importances

    def counted(readings: Any, meter: Any) -> Any:
        asked.append(len(readings))
        return plain(readings, meter)

    embedder.importances = counted  # type: ignore[method-assign]
    try:
        ranking = guided.rank("q", documents)
    finally:
        del embedder.importances
    assert [count for count in asked if count] == [10]
    assert [failed.index for failed in ranking.failed] == [4, len(documents) - 1]
    assert isinstance(ranking.failed[0].error, MediaError)
    single = Reranker.from_pretrained(tiny, profile=HALF, embedder=embedder, dtype="float32")
    for hit in ranking:
        document = documents[hit.index]
        alone = known[int(document[-1])] if isinstance(document, DocumentId) else document
        assert single.score("q", [alone])[0, 0] == hit.score


def test_a_ranking_reads_no_more_ahead_than_fills_a_pass(
    guided: Reranker, embedder: Embedder, picture: Callable[..., Any]
) -> None:
    sizes: list[int] = []
    plain = embedder.importances

    def counted(readings: Any, meter: Any) -> Any:
        sizes.append(sum(visual.tokens for item in readings for visual in item.visuals))
        return plain(readings, meter)

    embedder.importances = counted  # type: ignore[method-assign]
    try:
        ranking = guided.rank("q", [picture(512, 512, n) for n in range(9)])
    finally:
        del embedder.importances
    assert len(ranking) == 9
    assert sizes == [1_024, 1_024, 256]


def test_another_grid_is_resampled_and_the_answer_says_so(
    tiny: Path, picture: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    coarse = Embedder.from_pretrained(tiny, dtype="float32", limits=Limits(max_pixels=16_384))
    reranker = Reranker.from_pretrained(tiny, profile=HALF, embedder=coarse, dtype="float32")
    pixels = picture(256, 256)
    with caplog.at_level(logging.INFO, logger="minireranker"):
        ranking = reranker.rank("q", [pixels, picture(64, 64)])
    assert ranking.work.importances_resampled == 1
    (embedding,) = coarse.encode([pixels], importances=True)
    assert embedding is not None
    assert embedding.importances[0].shape == (1, 4, 4)
    fine = np.repeat(np.repeat(embedding.importances[0], 2, axis=1), 2, axis=2)
    best = np.argsort(-fine.ravel(), kind="stable")[:32]
    (hit,) = [hit for hit in ranking if hit.index == 0]
    assert hit.visuals[0].indices.tolist() == sorted(best.tolist())


@settings(max_examples=40, deadline=None)
@given(
    source=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    target=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_resampling_keeps_the_mean_and_is_the_average_of_what_is_covered(
    source: tuple[int, int, int], target: tuple[int, int, int], seed: int
) -> None:
    worth = np.random.default_rng(seed).random(source)
    found = resampled(worth, target)
    assert found.shape == target
    np.testing.assert_allclose(found.mean(), worth.mean())
    # On the common refinement of both grids, averaging is exact.
    common = worth
    for axis in range(3):
        common = np.repeat(common, target[axis], axis=axis)
    blocks = common.reshape(target[0], source[0], target[1], source[1], target[2], source[2]).mean(
        (1, 3, 5)
    )
    np.testing.assert_allclose(found, blocks)


def test_a_document_too_long_for_the_embedder_fails_alone(
    tiny: Path, picture: Callable[..., Any]
) -> None:
    short = Embedder.from_pretrained(
        tiny, dtype="float32", limits=Limits(max_tokens=60, max_suffix_tokens=8)
    )
    reranker = Reranker.from_pretrained(tiny, profile=HALF, embedder=short, dtype="float32")
    found = reranker.index([picture(512, 512), picture(64, 64)])
    (failed,) = found.failed
    assert failed.index == 0
    assert isinstance(failed.error, TooLongError)
    assert "embedder" in str(failed.error)


def test_a_picture_the_embedder_may_not_read_fails_alone(
    tiny: Path, picture: Callable[..., Any]
) -> None:
    strict = Embedder.from_pretrained(tiny, dtype="float32", limits=Limits(max_aspect_ratio=2.0))
    reranker = Reranker.from_pretrained(tiny, profile=HALF, embedder=strict, dtype="float32")
    ranking = reranker.rank("q", [picture(64, 256), picture(64, 64)])
    assert isinstance(ranking.failed[0].error, MediaError)
    assert len(ranking) == 1


@pytest.mark.parametrize("embedder", [7, ["a"]])
def test_what_is_no_embedder_is_refused(tiny: Path, embedder: Any) -> None:
    with pytest.raises(ConfigurationError, match="embedder is"):
        Reranker.from_pretrained(tiny, profile=HALF, embedder=embedder)


def test_a_choice_is_made_once_whatever_the_instruction_and_however_often_it_is_given(
    guided: Reranker, picture: Callable[..., Any]
) -> None:
    documents = [picture(64, 96, n % 3) for n in range(6)]
    first = guided.index(documents)
    single = guided.embedder.encode(documents[:1]) if guided.embedder else None
    assert single is not None
    tokens = len(single[0].token_ids) if single[0] is not None else 0
    assert first.work.embedder_token_layers == 3 * tokens * 7, "of six, three are different"
    again = [
        guided.rank("q", documents),
        guided.rank("q", documents, instruction="Another task."),
        guided.rank(documents[0], ["words", *documents]),
    ]
    assert [ranking.work.embedder_token_layers for ranking in again] == [0, 0, 0]


def test_a_choice_outlives_the_process(
    tiny: Path, embedder: Embedder, picture: Callable[..., Any], tmp_path: Path
) -> None:
    for expected in (True, False):
        with Cache(tmp_path) as cache:
            reranker = Reranker.from_pretrained(
                tiny, profile=HALF, embedder=embedder, dtype="float32", cache=cache
            )
            instruction = "First task." if expected else "Second task."
            work = reranker.index([picture(64, 96)], instruction=instruction).work
            assert (work.embedder_token_layers > 0) is expected


def test_an_embedder_that_chooses_a_little_differently_is_no_changed_document(
    tiny: Path, embedder: Embedder, picture: Callable[..., Any], tmp_path: Path
) -> None:
    """As on a GPU, where a packed pass and a single one need not give the same bits."""
    from PIL import Image

    path = tmp_path / "page.png"
    Image.fromarray(picture(128, 128)).save(path)
    reranker = Reranker.from_pretrained(tiny, profile=HALF, embedder=embedder, dtype="float32")
    (name,) = reranker.index([path])
    assert name is not None
    reranker.cache.drop(reranker.namespace.name)
    reranker.index(["words"])
    plain = embedder.importances

    def shaken(*arguments: Any) -> Any:
        return [tuple(worth[:, ::-1, ::-1] for worth in item) for item in plain(*arguments)]

    embedder.importances = shaken  # type: ignore[method-assign]
    try:
        assert not reranker.rank("q", [name]).failed
    finally:
        del embedder.importances


def test_a_document_too_long_as_a_whole_is_read_an_image_at_a_time(
    tiny: Path, picture: Callable[..., Any]
) -> None:
    short = Embedder.from_pretrained(
        tiny, dtype="float32", limits=Limits(max_tokens=60, max_suffix_tokens=8)
    )
    reranker = Reranker.from_pretrained(tiny, profile=HALF, embedder=short, dtype="float32")
    images = [picture(160, 160, n) for n in range(3)]
    (hit,) = reranker.rank("q", [{"image": images, "text": "three pages"}])
    for visual, image in zip(hit.visuals, images, strict=True):
        (alone,) = reranker.rank("q", [image])
        assert visual.indices.tolist() == alone.visuals[0].indices.tolist()


def test_the_embedders_weights_are_read_when_something_has_to_be_pruned(
    tiny: Path, picture: Callable[..., Any]
) -> None:
    reranker = Reranker.from_pretrained(tiny, profile=HALF, embedder=tiny, dtype="float32")
    assert reranker.embedder is not None
    assert reranker.embedder._model._loaded is None
    assert reranker.embedder.limits.max_pixels == HALF.limits.max_pixels
    reranker.rank("q", ["words"])
    assert reranker.embedder._model._loaded is None
    reranker.rank("q", [picture(64, 64)])
    assert reranker.embedder._model._loaded is not None


def test_an_embedder_that_is_no_checkpoint_is_refused_before_any_weights(
    tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError):
        Reranker.from_pretrained(tiny, profile=HALF, embedder=tmp_path)
