"""The training pass gives the engine's scores, in every form, and their true gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minireranker import Document, Profile, Query, Reranker, Template
from minireranker.engine.work import Meter
from minireranker.train.batch import PairBatch
from minireranker.train.forward import PairForward
from minireranker.train.writing import PairWriter

LAYERS = 7
QUERIES = ["a red circle", "the left page of a blue chart", "revenue"]
SHAPES = [(64, 64), (96, 64), (64, 64), (32, 160)]


def picture(height: int, width: int, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def documents() -> list[Document]:
    out = []
    for seed, (height, width) in enumerate(SHAPES):
        worth = np.random.default_rng(seed).random((height // 32, width // 32))
        out.append(Document(image=picture(height, width, seed), importances=worth))
    return [*out, Document(text="a blue table"), Document(text="left", image=picture(64, 64, 9))]


def forward(reranker: Reranker, **options: Any) -> PairForward:
    state = reranker.state
    return PairForward(state.model, state.packer(Meter()), state.band, **options)


def batch_of(
    reranker: Reranker, queries: list[str], items: list[Document], *, share: bool = True
) -> PairBatch:
    state = reranker.state
    writer = PairWriter(state.prompt, state.guide(Meter()))
    asked, contents = [Query.of(q).content for q in queries], [item.content for item in items]
    pairs = [writer.write(q, d, None) for q in asked for d in contents]
    return PairBatch.of(pairs, share=share)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    exit_layer = draw(st.integers(1, LAYERS))
    high = draw(st.integers(0, exit_layer))
    order = draw(st.sampled_from(["vision-first", "query-first"]))
    return Profile(
        exit_layer=exit_layer,
        band=(draw(st.integers(0, high)), high),
        keep_ratio=draw(st.sampled_from([1.0, 0.5])),
        template=Template(order=order),
    )


@settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)
@given(profile=profiles(), share=st.booleans(), recompute=st.booleans())
def test_scores_are_the_engines(tiny: Path, profile: Profile, share: bool, recompute: bool) -> None:
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32")
    items = documents()
    if profile.keep_ratio < 1:
        items = items[:-1]
    wanted = np.concatenate([reranker.score(query, items).ravel() for query in QUERIES])
    batch = batch_of(reranker, QUERIES, items, share=share)
    found = forward(reranker, recompute=recompute)(batch).detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=2e-5 * max(1.0, np.ptp(wanted)), rtol=1e-5)


def test_equal_parts_are_run_once(tiny: Path) -> None:
    reranker = Reranker.from_pretrained(tiny, profile="mini", dtype="float32")
    batch = batch_of(reranker, QUERIES, documents()[:3])
    assert (len(batch.headers), len(batch.firsts), len(batch.pairs)) == (1, 3, 9)
    assert len(batch.seconds) == 2 * len(QUERIES), "64 x 64 and 96 x 64 end at two places"
    alone = batch_of(reranker, QUERIES, documents()[:3], share=False)
    assert (len(alone.headers), len(alone.firsts), len(alone.seconds)) == (9, 9, 9)
    assert alone.tokens - batch.tokens == sum(len(first) for first, _ in batch.firsts) * 2


@pytest.mark.parametrize("recompute", [False, True])
def test_the_gradient_is_that_of_the_score(tiny: Path, recompute: bool) -> None:
    """Against differences in float64, of one weight of each kind, in the tower too."""
    profile = Profile(exit_layer=5, band=(2, 4), keep_ratio=0.5)
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float64")
    model = reranker.state.model
    batch = batch_of(reranker, QUERIES[:2], documents()[:2])
    run = forward(reranker, recompute=recompute)
    scale = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    names = [
        ("decoder", "embed_tokens.weight"),
        ("decoder", "layers.0.self_attn.k_proj.weight"),
        ("decoder", "layers.3.self_attn.q_proj.weight"),
        ("decoder", "layers.3.self_attn.k_norm.weight"),
        ("decoder", "layers.4.mlp.down_proj.weight"),
        ("decoder", "norm.weight"),
        ("vision", "merger.linear_fc2.weight"),
        ("vision", "blocks.0.attn.qkv.weight"),
    ]
    for room, name in names:
        weight = dict(getattr(model, room).named_parameters())[name]
        weight.requires_grad_(True)
        (run(batch) @ scale).backward()
        assert weight.grad is not None
        direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)).double()
        slope = float((weight.grad * direction).sum())
        weight.requires_grad_(False)
        step = 1e-5
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weight += sign * step * direction
                ends.append(float(run(batch) @ scale))
                weight -= sign * step * direction
        measured = (ends[0] - ends[1]) / (2 * step)
        assert slope == pytest.approx(measured, rel=1e-5, abs=1e-7), name
        assert abs(measured) > 1e-4, f"{name} does nothing here"
