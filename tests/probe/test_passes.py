"""The lens and the blocked pathways give what the engine gives under the same profile."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minireranker import Document, Profile, Query, Reranker
from minireranker.engine.prefix import Band
from minireranker.errors import NonFiniteScoreError
from minireranker.probe.passes import blocked, lens, write
from minireranker.probe.sample import Question

from .known_answers import load

LAYERS = 7


def question() -> Question:
    random = np.random.default_rng(0)
    sizes = [(64, 64), (96, 64), (64, 64), (32, 160)]
    documents = [
        Document(
            image=random.integers(0, 256, (*size, 3), dtype=np.uint8),
            importances=random.random((size[0] // 32, size[1] // 32)),
        )
        for size in sizes
    ]
    documents += [Document(text="a blue table"), Document(text="the harbour in autumn")]
    return Question(Query(text="a red circle"), tuple(documents), np.zeros(len(documents)))


def lens_of(reranker: Reranker) -> np.ndarray:
    asked = question()
    scores = np.full((LAYERS, len(asked.documents)), np.nan)
    for batch in write(reranker.state, asked).batches:
        scores[:, batch.places] = lens(reranker.state, batch, lambda x, rows: None)
    return scores


def blocked_by(
    reranker: Reranker, bands: list[Band], keep_ratio: float = 1.0
) -> dict[Band, np.ndarray]:
    asked = question()
    scores = {b: np.full((b.exit_layer, len(asked.documents)), np.nan) for b in bands}
    for batch in write(reranker.state, asked, keep_ratio).batches:
        for band, part in blocked(reranker.state, batch, bands).items():
            scores[band][:, batch.places] = part
    return scores


def wanted(tiny: Path, profile: Profile) -> np.ndarray:
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32")
    asked = question()
    return reranker.score(asked.query, asked.documents)[0]


@pytest.mark.parametrize("batch_tokens", [30, 4096])
def test_the_lens_is_an_exit_behind_each_layer(tiny: Path, batch_tokens: int) -> None:
    scores = lens_of(load(tiny, batch_tokens=batch_tokens))
    for exit_layer in range(1, LAYERS + 1):
        exact = wanted(tiny, Profile(exit_layer=exit_layer, band=(0, exit_layer)))
        np.testing.assert_allclose(scores[exit_layer - 1], exact, atol=1e-5)


@settings(max_examples=6, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    ends=st.lists(st.tuples(st.integers(0, LAYERS), st.integers(0, LAYERS)), min_size=1),
    exit_layer=st.integers(1, LAYERS),
    keep_ratio=st.sampled_from([1.0, 0.5]),
    order=st.sampled_from(["dense", "dense-query-first"]),
    batch_tokens=st.sampled_from([60, 4096]),
)
def test_blocked_scores_are_those_of_the_profile(
    tiny: Path,
    ends: list[tuple[int, int]],
    exit_layer: int,
    keep_ratio: float,
    order: str,
    batch_tokens: int,
) -> None:
    bands = list(dict.fromkeys(Band(min(pair), max(pair), LAYERS) for pair in ends))
    reranker = load(tiny, profile=order, batch_tokens=batch_tokens)
    scores = blocked_by(reranker, bands, keep_ratio)
    last = bands[-1]
    profile = dataclasses.replace(
        reranker.profile,
        exit_layer=exit_layer,
        band=(min(last.low, exit_layer), min(last.high, exit_layer)),
        keep_ratio=keep_ratio,
    )
    np.testing.assert_allclose(scores[last][exit_layer - 1], wanted(tiny, profile), atol=1e-5)


def test_an_open_band_is_the_dense_model(dense: Reranker) -> None:
    band = Band(0, LAYERS, LAYERS)
    np.testing.assert_allclose(blocked_by(dense, [band])[band], lens_of(dense), atol=1e-5)


def test_scores_that_are_no_numbers(tiny: Path) -> None:
    reranker = load(tiny)
    with torch.no_grad():
        reranker.state.model.decoder.layer(3).mlp.down_proj.weight.fill_(torch.nan)
    with pytest.raises(NonFiniteScoreError, match="after layer 3"):
        lens_of(reranker)
    with pytest.raises(NonFiniteScoreError, match="after layer 3"):
        blocked_by(reranker, [Band(1, 2, LAYERS)])
