"""One system through the whole dataset, or as far as it got."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from minireranker.relevance import Dataset

from .quality_parts import parts, places
from .quality_scorers import Failure, PartScores, Place, Scorer, Scores

__all__ = ["Outcome", "measure"]


@dataclass(eq=False)
class Outcome:
    """What one system made of a dataset."""

    dataset: Dataset
    scores: dict[str, Scores] = field(default_factory=dict)
    """Of each query, as its candidates are ordered; NaN where one failed or is not there yet."""
    failed: dict[Failure, None] = field(default_factory=dict)
    """Each once."""
    seconds: float = 0.0
    interrupted: bool = False
    unreadable: set[str] = field(default_factory=set)
    """Queries that could not be read: they have no ranking."""
    place: Place = field(default_factory=Place)
    """Of its model."""

    def __post_init__(self) -> None:
        """Nothing is there yet."""
        sizes = {query: len(listed) for query, listed in self.dataset.candidates.items()}
        self.scores = {query: np.full(size, np.nan) for query, size in sizes.items()}
        self._open, self._places = sizes, places(self.dataset)

    @property
    def finished(self) -> list[str]:
        """Queries all of whose candidates were looked at, in the dataset's order."""
        return [query for query in self.dataset.queries if not self._open[query]]

    def take(self, lists: dict[str, list[str]], found: PartScores) -> None:
        """The scores of a part."""
        self.failed |= dict.fromkeys(found.failed)
        self.unreadable |= {f.query for f in found.failed if f.document is None and f.query}
        for query, listed in lists.items():
            places = self._places[query]
            self.scores[query][[places[name] for name in listed]] = found.scores[query]
            self._open[query] -= len(listed)

    def ranking(self, query: str) -> list[str]:
        """Candidates best first, ties as they came, failed ones last; none for a bad query."""
        if query in self.unreadable:
            return []
        order = np.argsort(-self.comparable(query), kind="stable")
        listed = self.dataset.candidates[query]
        return [listed[at] for at in order]

    def comparable(self, query: str) -> Scores:
        """The query's scores, failed candidates below all others."""
        scores = self.scores[query]
        return np.where(np.isnan(scores), -np.inf, scores)


def measure(dataset: Dataset, scorer: Scorer, step: Callable[[int], None]) -> Outcome:
    """Score every pair. An interrupt ends it early: what is finished by then is kept."""
    outcome, start = Outcome(dataset), time.perf_counter()
    try:
        for part in parts(dataset):
            outcome.take(part.lists, scorer.score(part))
            step(part.pairs)
    except KeyboardInterrupt:
        outcome.interrupted = True
    outcome.seconds = time.perf_counter() - start
    return outcome
