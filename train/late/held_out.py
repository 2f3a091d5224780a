"""How well a retriever in training finds what was held out: every query, all documents."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireranker.relevance.metrics import hit, ndcg

from .lessons import Question

DEPTH = 10
"""Of nDCG."""


@dataclass(frozen=True)
class RetrievalLook:
    """At some step. NaN where no query has a relevant document."""

    step: int
    hit: float
    """Share of the queries whose first document is relevant."""
    ndcg: float
    """Mean nDCG@10."""
    groups: dict[str, dict[str, float]] = field(default_factory=dict)
    """The same for each of MetaEmbed's groups, by "queries,candidates"; above is the largest."""

    def beats(self, other: RetrievalLook | None) -> bool:
        """By nDCG, then by Hit@1; of equal ones the later."""
        return other is None or self._rank() >= other._rank()

    def figures(self) -> dict[str, Any]:
        """What is logged of it."""
        found: dict[str, Any] = {"hit@1": _known(self.hit), f"ndcg@{DEPTH}": _known(self.ndcg)}
        return found | ({"groups": self._known_groups()} if self.groups else {})

    def facts(self) -> dict[str, Any]:
        """As JSON has it, None for what is no number."""
        numbers = {"hit": _known(self.hit), "ndcg": _known(self.ndcg)}
        return dataclasses.asdict(self) | numbers | {"groups": self._known_groups()}

    def summary(self) -> str:
        """In a few words."""
        return f"Hit@1 {self.hit:.4f}, nDCG@{DEPTH} {self.ndcg:.4f}"

    def _known_groups(self) -> dict[str, dict[str, float | None]]:
        return {
            group: {name: _known(value) for name, value in figures.items()}
            for group, figures in self.groups.items()
        }

    def _rank(self) -> tuple[float, float]:
        return _known(self.ndcg) or 0.0, _known(self.hit) or 0.0


def require_measures() -> None:
    """Raise MissingDependencyError without ir-measures, before anything is trained."""
    ndcg({}, {}, DEPTH)


def documents_of(questions: Sequence[Question]) -> list[int]:
    """Contents of all judged documents, each once, in their order."""
    return list(dict.fromkeys(content for question in questions for content in question.labels))


def measure(
    questions: Sequence[Question], documents: Sequence[int], scores: NDArray[np.float32]
) -> tuple[float, float]:
    """Mean Hit@1 and nDCG@10 of ``scores`` [questions, documents]; NaN without a positive.

    Of equal scores the later document comes first: the file's order, positives first in many, must
    not help. A document not judged for a query is irrelevant to it.
    """
    qrels: dict[str, dict[str, float]] = {}
    run: dict[str, list[str]] = {}
    backwards = -np.arange(len(documents))
    for number, question in enumerate(questions):
        if question.positives:
            order = np.lexsort((backwards, -scores[number]))[:DEPTH]
            qrels[str(number)] = {str(name): label for name, label in question.labels.items()}
            run[str(number)] = [str(documents[at]) for at in order]
    if not qrels:
        return math.nan, math.nan
    hits, gains = hit(qrels, run, 1), ndcg(qrels, run, DEPTH)
    return float(np.mean(list(hits.values()))), float(np.mean(list(gains.values())))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
