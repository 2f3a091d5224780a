"""From rankings to the figures of a row, each with its interval, alone and against a reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minireranker.relevance import Dataset, bootstrap, hit, kendall_tau, mrr, ndcg, overlap

from .quality_run import Outcome

__all__ = ["AGREEMENT", "METRICS", "Figures", "ceiling"]

METRICS = {
    "nDCG@5": (ndcg, 5),
    "nDCG@10": (ndcg, 10),
    "Hit@1": (hit, 1),
    "MRR@10": (mrr, 10),
}
"""By name: what judges a ranking, and its cut."""

TAU, OVERLAP, TOP = "Kendall tau", "overlap@10", 10

AGREEMENT = (TAU, OVERLAP)
"""Names of what compares a ranking with the reference's."""


@dataclass(frozen=True)
class Figures:
    """How figures are made."""

    seed: int = 0
    resamples: int = 2_000
    confidence: float = 0.95

    def row(self, outcome: Outcome, reference: Outcome | None) -> dict[str, Any]:
        """All figures of one system over its finished queries.

        The difference to the reference is over the queries that both have finished; its interval
        is of the paired differences.
        """
        queries = outcome.finished
        common = _common(outcome, reference)
        judged, against = _judged(outcome, queries), _judged(reference, common)
        metrics = {
            name: {
                **self._interval(list(values.values())),
                "difference": self._difference(values, against.get(name), common),
            }
            for name, values in judged.items()
        }
        return {"metrics": metrics, "agreement": self._agreement(outcome, reference, common)}

    def _difference(
        self,
        values: Mapping[str, float],
        reference: Mapping[str, float] | None,
        queries: Sequence[str],
    ) -> dict[str, Any] | None:
        if reference is None or not queries:
            return None
        ours, theirs = ([found[query] for query in queries] for found in (values, reference))
        base = sum(theirs)
        return {
            **self._interval([a - b for a, b in zip(ours, theirs, strict=True)]),
            "share": sum(ours) / base if base else None,
        }

    def _agreement(
        self, outcome: Outcome, reference: Outcome | None, queries: Sequence[str]
    ) -> dict[str, Any] | None:
        """How far the order is the reference's, whatever is relevant."""
        if reference is None or not queries:
            return None
        taus, shared = [], []
        for query in queries:
            # A query that failed has neither: all its scores tie, and its ranking is empty.
            taus.append(
                kendall_tau(
                    outcome.comparable(query).tolist(), reference.comparable(query).tolist()
                )
            )
            shared.append(overlap(outcome.ranking(query), reference.ranking(query), TOP))
        return {TAU: self._interval(taus), OVERLAP: self._interval(shared)}

    def _interval(self, values: Sequence[float]) -> dict[str, float | None]:
        found = bootstrap(
            values, seed=self.seed, resamples=self.resamples, confidence=self.confidence
        )
        # JSON has no NaN.
        return {name: None if math.isnan(v) else v for name, v in vars(found).items()}


def ceiling(dataset: Dataset) -> float:
    """nDCG@10 of the best order of the candidates: what any reranker could reach.

    Below 1 where relevant documents are not among them.
    """
    best = {}
    for query, listed in dataset.candidates.items():
        judged = dataset.qrels[query]
        best[query] = sorted(listed, key=lambda name: -judged.get(name, 0.0))
    values = ndcg(dataset.qrels, best, 10)
    return sum(values.values()) / len(values)


def _common(outcome: Outcome, reference: Outcome | None) -> list[str]:
    if reference is None:
        return []
    theirs = set(reference.finished)
    return [query for query in outcome.finished if query in theirs]


def _judged(outcome: Outcome | None, queries: Sequence[str]) -> dict[str, dict[str, float]]:
    """By metric, of each query; nothing of no queries."""
    if outcome is None:
        return {}
    if not queries:
        return {name: {} for name in METRICS}
    qrels = {query: outcome.dataset.qrels[query] for query in queries}
    run = {query: outcome.ranking(query) for query in queries}
    return {name: metric(qrels, run, k) for name, (metric, k) in METRICS.items()}
