"""From scores to figures: failures, interrupts, differences, all against hand-computed values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from minireranker.bench.quality_figures import Figures, ceiling
from minireranker.bench.quality_parts import Part
from minireranker.bench.quality_run import Outcome, measure
from minireranker.bench.quality_scorers import Failure, Order, PartScores, Place
from minireranker.engine import Document, Query
from minireranker.relevance import Dataset

CANDIDATES = {"q1": ["a", "b", "c"], "q2": ["c", "d"]}
QRELS = {"q1": {"b": 1.0, "x": 1.0}, "q2": {"c": 1.0}}
LOST = 1 / math.log2(3)
"""The discount at rank 2."""


class Told:
    """A scorer that was told what to say; NaN is a document that fails."""

    place = Place()

    def __init__(self, scores: Mapping[str, Mapping[str, float]], bad: str | None = None) -> None:
        self.scores, self.bad, self.parts = scores, bad, 0

    def score(self, part: Part) -> PartScores:
        self.parts += 1
        failed = [Failure("bad", None, self.bad)] if self.bad in part.lists else []
        found = {}
        for query, listed in part.lists.items():
            found[query] = np.array([self.scores[query][name] for name in listed])
            failed += [
                Failure("gone", name, None)
                for name, score in zip(listed, found[query], strict=True)
                if math.isnan(score)
            ]
        return PartScores(found, failed)


class Stopped(Told):
    """Is interrupted in the second part."""

    def score(self, part: Part) -> PartScores:
        if self.parts:
            raise KeyboardInterrupt
        return super().score(part)


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(
        "made",
        {name: Query(text=name) for name in CANDIDATES},
        {name: Document(text=name, id=name) for name in "abcd"},
        QRELS,
        CANDIDATES,
        is_ranked=True,
    )


def measured(dataset: Dataset, scorer: Told | Order) -> Outcome:
    return measure(dataset, scorer, lambda steps: None)


GOOD = {"q1": {"a": 0.5, "b": 2.0, "c": -1.0}, "q2": {"c": 1.0, "d": 0.0}}


def test_a_ranking_is_by_score_then_by_place(dataset: Dataset) -> None:
    tied = measured(dataset, Told({"q1": {"a": 1, "b": 1, "c": 2}, "q2": {"c": 0, "d": 0}}))
    assert tied.ranking("q1") == ["c", "a", "b"]
    assert tied.ranking("q2") == ["c", "d"]
    assert measured(dataset, Order(dataset)).ranking("q1") == ["a", "b", "c"]


def test_a_long_tie_stays_as_it_came(dataset: Dataset) -> None:
    listed = [str(at) for at in range(300)]
    outcome = Outcome(replace(dataset, candidates={"q1": listed}))
    outcome.take({"q1": listed}, PartScores({"q1": np.arange(300) % 2.0}, []))
    assert outcome.ranking("q1") == listed[1::2] + listed[::2]


def test_a_failed_document_is_last_and_counted_once(dataset: Dataset) -> None:
    scores = {"q1": {"a": -9.0, "b": -8.0, "c": math.nan}, "q2": {"c": math.nan, "d": -5.0}}
    found = measured(dataset, Told(scores))
    assert found.ranking("q1") == ["b", "a", "c"]
    assert found.ranking("q2") == ["d", "c"]
    assert list(map(str, found.failed)) == ["document c: gone"]


def test_a_failed_query_has_no_ranking_and_is_worth_nothing(dataset: Dataset) -> None:
    found = measured(dataset, Told(GOOD, bad="q2"))
    assert found.unreadable == {"q2"}
    assert found.ranking("q2") == []
    row = Figures().row(found, None)
    assert row["metrics"]["Hit@1"]["mean"] == 0.5
    assert list(map(str, found.failed)) == ["query q2: bad"]


def test_figures_are_what_a_hand_computes(dataset: Dataset) -> None:
    row = Figures().row(measured(dataset, Told(GOOD)), None)
    # q1 finds one of its two relevant documents, at rank 1; the other is no candidate.
    expected = (1 / (1 + LOST) + 1) / 2
    assert row["metrics"]["nDCG@5"]["mean"] == pytest.approx(expected)
    assert row["metrics"]["nDCG@10"]["mean"] == pytest.approx(expected)
    assert row["metrics"]["Hit@1"]["mean"] == row["metrics"]["MRR@10"]["mean"] == 1.0
    assert row["agreement"] is row["metrics"]["Hit@1"]["difference"] is None
    assert ceiling(dataset) == pytest.approx(expected)


def test_differences_are_paired(dataset: Dataset) -> None:
    dense = measured(dataset, Told(GOOD))
    row = Figures(resamples=200).row(measured(dataset, Order(dataset)), dense)
    found = row["metrics"]["MRR@10"]["difference"]
    assert found["mean"] == pytest.approx(-0.25), "b is second of q1, c first of q2"
    assert (found["low"], found["high"]) == (-0.5, 0.0)
    assert found["share"] == pytest.approx(0.75)
    assert row["agreement"]["Kendall tau"]["mean"] == pytest.approx((1 / 3 + 1) / 2)
    assert row["agreement"]["overlap@10"]["mean"] == 1.0


def test_the_same_run_differs_by_nothing(dataset: Dataset) -> None:
    row = Figures().row(measured(dataset, Told(GOOD)), measured(dataset, Told(GOOD)))
    assert row["metrics"]["nDCG@5"]["difference"] == {
        **dict.fromkeys(("mean", "low", "high"), 0.0),
        "share": 1.0,
    }
    assert row["agreement"]["Kendall tau"]["low"] == 1.0


def test_an_interrupt_keeps_finished_queries(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minireranker.bench.quality_parts.DOCUMENTS", 3)
    found = measured(dataset, Stopped(GOOD))
    assert found.interrupted
    assert found.finished == ["q1"], "q2 waits for d"
    row = Figures().row(found, measured(dataset, Order(dataset)))
    assert row["metrics"]["Hit@1"]["mean"] == 1.0
    assert row["metrics"]["MRR@10"]["difference"]["mean"] == 0.5, "over q1 alone"


def test_nothing_finished_has_no_figures(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minireranker.bench.quality_parts.DOCUMENTS", 1)
    found = measured(dataset, Stopped(GOOD))
    assert found.finished == []
    row = Figures().row(found, measured(dataset, Order(dataset)))
    assert row["metrics"]["nDCG@10"]["mean"] is row["agreement"] is None
    json.dumps(row, allow_nan=False)


def test_ties_throughout_have_no_tau(dataset: Dataset) -> None:
    flat = {query: dict.fromkeys(listed, 0.0) for query, listed in CANDIDATES.items()}
    row = Figures().row(measured(dataset, Told(flat)), measured(dataset, Told(GOOD)))
    assert row["agreement"]["Kendall tau"]["mean"] is None
    json.dumps(row, allow_nan=False)
