"""Metrics and agreement against their definitions, written out."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minireranker.probe.agreement import kendall, pearson
from minireranker.probe.quality import Judgements, measured, ndcg, pair_accuracy, resamples
from minireranker.relevance import ndcg as ir_ndcg

LEVELS = st.sampled_from([0.0, 1.0, 2.0])


@st.composite
def judged(draw: st.DrawFn) -> tuple[Judgements, np.ndarray]:
    labels = [
        draw(st.lists(LEVELS, min_size=2, max_size=5).filter(lambda part: len(set(part)) > 1))
        for _ in range(draw(st.integers(1, 4)))
    ]
    starts = np.cumsum([0, *map(len, labels)])
    size = int(starts[-1])
    scores = draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size))
    return Judgements(np.concatenate(labels), starts), np.array(scores, np.float64)


@given(judged())
def test_auc_of_every_resample(case: tuple[Judgements, np.ndarray]) -> None:
    judgements, scores = case
    draws = resamples(judgements.queries, 5, 0)
    found = measured("auc", judgements, scores, draws)
    for draw, value in zip(draws, found, strict=True):
        parts = list(judgements.by_query(scores))
        drawn = [part for part, times in zip(parts, draw, strict=True) for _ in range(int(times))]
        labels, again = (np.concatenate(column) for column in zip(*drawn, strict=True))
        pairs = list(product(again[labels >= 0.5], again[labels < 0.5]))
        wins = [(one > other) + 0.5 * (one == other) for one, other in pairs]
        assert value == pytest.approx(np.mean(wins) if pairs else 0.0)


@given(judged())
def test_pair_accuracy(case: tuple[Judgements, np.ndarray]) -> None:
    judgements, scores = case
    for labels, part in judgements.by_query(scores):
        order = [(x, y) for x, y in product(range(len(part)), repeat=2) if labels[x] > labels[y]]
        wins = [(part[x] > part[y]) + 0.5 * (part[x] == part[y]) for x, y in order]
        assert pair_accuracy(labels, part) == pytest.approx(np.mean(wins))


@given(st.lists(LEVELS, min_size=2, max_size=25), st.integers(0, 99))
def test_ndcg_is_that_of_ir_measures_where_nothing_ties(labels: list[float], seed: int) -> None:
    scores = np.random.default_rng(seed).permutation(len(labels)).astype(np.float64)
    names = [f"d{at}" for at in range(len(labels))]
    run = [names[at] for at in np.argsort(-scores)]
    wanted = ir_ndcg({"q": dict(zip(names, labels, strict=True))}, {"q": run}, 10)["q"]
    assert ndcg(np.array(labels), scores) == pytest.approx(wanted)


def test_ndcg_of_ties_is_the_mean_over_their_orders() -> None:
    labels = np.array([2.0, 0.0, 1.0, 0.0, 1.0])
    groups = [[2], [0, 1, 3], [4]]
    values = [
        ndcg(labels[[*groups[0], *middle, *groups[2]]], np.array([5.0, 4.0, 3.0, 2.0, 1.0]))
        for middle in permutations(groups[1])
    ]
    tied = np.array([2.0, 2.0, 3.0, 2.0, 1.0])
    assert ndcg(labels, tied) == pytest.approx(np.mean(values))


@given(judged(), st.integers(0, 99))
def test_agreement_is_within_queries(case: tuple[Judgements, np.ndarray], seed: int) -> None:
    judgements, one = case
    other = np.random.default_rng(seed).normal(size=len(one))
    draws = resamples(judgements.queries, 3, 0)
    before = [measure(judgements, one, other, draws) for measure in (pearson, kendall)]
    moved = other + 50 * np.repeat(np.arange(judgements.queries), np.diff(judgements.starts))
    after = [measure(judgements, one, moved, draws) for measure in (pearson, kendall)]
    np.testing.assert_allclose(before, after, atol=1e-9)


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=8), st.integers(0, 99))
def test_agreement_of_one_query(values: list[int], seed: int) -> None:
    assume(len(set(values)) > 1)
    one, size = np.array(values, np.float64), len(values)
    other = np.random.default_rng(seed).integers(0, 4, size).astype(np.float64)
    assume(len(set(other)) > 1)
    judgements = Judgements(np.zeros(size), np.array([0, size]))
    draws = np.ones((1, 1))
    wanted = np.corrcoef(one, other)[0, 1]
    assert pearson(judgements, one, other, draws)[0] == pytest.approx(wanted)
    pairs = [(x, y) for x in range(size) for y in range(x)]
    signs = [(np.sign(one[x] - one[y]), np.sign(other[x] - other[y])) for x, y in pairs]
    untied = [sum(abs(sign[side]) for sign in signs) for side in (0, 1)]
    tau = sum(a * b for a, b in signs) / np.sqrt(untied[0] * untied[1])
    assert kendall(judgements, one, other, draws)[0] == pytest.approx(tau)


def test_scores_that_differ_by_rounding_only_agree_with_nothing() -> None:
    judgements = Judgements(np.array([0.0, 1.0, 2.0]), np.array([0, 3]))
    one = np.array([1.0, 2.0, 3.0])
    rounded = np.array([7.0, 7.0 + 1e-7, 7.0 + 2e-7])
    assert pearson(judgements, one, rounded, np.ones((1, 1))) == [0.0]
