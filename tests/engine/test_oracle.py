"""The oracle rules: the cached path gives the score of the full sequence (method, section 5)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from minireranker import Document, Limits, Profile, Query, Reranker, Template
from minireranker.bench.oracle import FullSequenceModel

LAYERS = 7
WORDS = [
    "red",
    "blue",
    "circle",
    "square",
    "page",
    "chart",
    "revenue",
    "left",
    "of",
    "the",
    "a",
    "small",
    "table",
    "photo",
]
LIMITS = Limits(frame_min_pixels=4_096, frame_max_pixels=16_384, video_min_frames=2)


def pixels(height: int, width: int, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@st.composite
def sides(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """Content of one side: text, images (1-4, grids 2 x 2 to 40 x 6), a video, or a mixture."""
    words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12))
    if kind == "text":
        return {"text": " ".join(words)}
    content: dict[str, Any] = {}
    seed = draw(st.integers(0, 10**6))
    if kind == "video" or draw(st.integers(0, 4)) == 0:
        count = draw(st.integers(1, 5))
        content["video"] = [pixels(64, 96, seed + i) for i in range(count)]
    if kind == "image" or not content:
        count = draw(st.integers(1, 4))
        grids = [
            (draw(st.integers(2, 40)), draw(st.integers(2, 6)))[:: draw(st.sampled_from([1, -1]))]
            for _ in range(count)
        ]
        content["image"] = [pixels(32 * h, 32 * w, seed + 9 + i) for i, (h, w) in enumerate(grids)]
    if draw(st.booleans()):
        content["text"] = " ".join(words)
    return content


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Any exit, any band (empty, whole), any keep ratio, both orders."""
    exit_layer = draw(st.integers(1, LAYERS))
    high = draw(st.integers(0, exit_layer))
    low = draw(st.integers(0, high))
    keep = draw(st.sampled_from([1.0, 0.5, 0.3, 0.9]))
    if draw(st.booleans()):
        template = Template()
    else:
        template = Template(
            order=draw(st.sampled_from(["vision-first", "query-first"])),
            header_end="",
            query_label="<Query>:",
            document_label="<Document>:",
        )
    return Profile(
        exit_layer=exit_layer, band=(low, high), keep_ratio=keep, template=template, limits=LIMITS
    )


def with_importances(content: dict[str, Any], profile: Profile, seed: int) -> dict[str, Any]:
    """Random importances for every visual, on the grid it will have."""
    from minireranker.engine.reading import read_content

    visuals = read_content(Document(**content).content, profile.limits).visuals
    random = np.random.default_rng(seed)
    return {**content, "importances": [random.random(v.tokens) for v in visuals]}


ROWS = [("text", "image"), ("text", "video"), ("image", "text"), ("image", "image")]
ROWS += [("video", "image"), ("text", "text"), ("video", "text")]


@pytest.mark.parametrize(("query_kind", "document_kind"), ROWS)
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    # Not shrunk: every example runs a model twice, and the drawn values are printed anyway.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(data=st.data())
def test_cached_scores_equal_the_full_sequence(
    tiny: Path,
    oracle: FullSequenceModel,
    query_kind: str,
    document_kind: str,
    data: st.DataObject,
) -> None:
    profile = data.draw(profiles())
    query = with_importances(data.draw(sides(query_kind)), profile, 1)
    kinds = [document_kind, document_kind, data.draw(st.sampled_from(["text", "image", "video"]))]
    documents = [with_importances(data.draw(sides(kind)), profile, 2) for kind in kinds]
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32", batch_tokens=256)
    scores = reranker.score([Query(**query)], documents)[0]
    expected = np.array(oracle.scores(reranker, Query(**query), documents))
    again = reranker.score([Query(**query)], documents)[0]
    assert np.array_equal(scores, again), "a warm cache changed a score"
    # Documents may be alike here, down to equal ones: the bar cannot be below what float32
    # resolves, 5e-6 of scores near one. A batch with a spread of its own is held below.
    assert np.abs(scores - expected).max() <= 1e-4 * max(float(expected.std()), 0.05)


def test_within_a_batch_the_bar_is_its_own_spread(
    tiny: Path, oracle: FullSequenceModel, picture: Callable[..., Any]
) -> None:
    documents = [picture(64 + 32 * (n % 3), 64 + 32 * (n % 5), n) for n in range(24)]
    for profile in ("mini", "dense", Profile(exit_layer=5, band=(1, 4))):
        reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32")
        scores = reranker.score("a red circle", documents)[0]
        expected = np.array(oracle.scores(reranker, "a red circle", documents))
        assert np.abs(scores - expected).max() <= 1e-4 * expected.std()


@pytest.mark.parametrize("name", ["dense", "dense-query-first"])
@pytest.mark.parametrize("query", ["what is the revenue?", "picture", "mixed"])
def test_dense_is_the_unmodified_transformers_model(
    tiny: Path, oracle: FullSequenceModel, picture: Callable[..., Any], name: str, query: str
) -> None:
    """Positions, masks, DeepStack and all: nothing of ours is in ``published_score``."""
    asked: Any = query
    if query != "what is the revenue?":
        asked = {"image": picture(64, 64, 9), "text": "like this" if query == "mixed" else None}
    frames = [picture(64, 96, seed) for seed in range(3)]
    documents: list[Any] = [
        picture(96, 64),
        {"image": [picture(64, 64, 1), picture(64, 256, 2)], "text": "two pictures"},
        {"video": [frames], "text": "a film"},
        {"video": [frames], "image": picture(64, 64, 3)},
        "only text, with a full stop.",
        "",
    ]
    reranker = Reranker.from_pretrained(tiny, profile=name, dtype="float32")
    scores = reranker.score([asked], documents)[0]
    published = [oracle.published_score(reranker, asked, document) for document in documents]
    assert np.abs(scores - published).max() <= 1e-4 * scores.std()


def test_bfloat16_error_is_within_twice_that_of_the_full_sequence_model(tiny: Path) -> None:
    """Root mean square over many headers, queries and documents: the rounding of each is common
    to all its pairs, so a few are a few draws."""
    exact = FullSequenceModel(tiny, dtype=torch.float64)
    rounded = FullSequenceModel(tiny, dtype=torch.bfloat16)
    profile = Profile(exit_layer=5, band=(2, 5), keep_ratio=0.5)
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="bfloat16")
    scores, truth, theirs = [], [], []
    for seed in range(10):
        random = np.random.default_rng(seed)
        task = " ".join(random.choice(WORDS, 8))
        query = " ".join(random.choice(WORDS, 6))
        documents = [
            Document(image=pixels(64, 96 + 32 * s, seed), importances=random.random(2 * (3 + s)))
            for s in range(3)
        ]
        scores.append(reranker.score(query, documents, instruction=task)[0])
        truth.append(exact.scores(reranker, query, documents, task))
        theirs.append(rounded.scores(reranker, query, documents, task))

    def error(values: Any) -> float:
        return float(np.sqrt(np.mean((np.array(values) - truth) ** 2)))

    assert 0 < error(scores) <= 2 * error(theirs)


def test_every_backend_gives_the_same_scores(tiny: Path, picture: Callable[..., Any]) -> None:
    documents = [picture(64, 96), picture(128, 64), "text"]
    scores = {
        backend: Reranker.from_pretrained(
            tiny, profile="dense", dtype="float32", backend=backend
        ).score(["a page", {"image": picture(64, 64)}], documents)
        for backend in ("reference", "sdpa", "packed")
    }
    for found in scores.values():
        np.testing.assert_allclose(found, scores["reference"], atol=2e-5)
