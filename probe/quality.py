"""How well scores order judged pairs: three measures, each with its bootstrap over queries.

A query is what is drawn again, with all its pairs: pairs of one query are not independent. Ties
count for what their order would give on average, because a blocked pathway makes many of them;
tools that break ties by document id would then measure the ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from minireranker.relevance.dataset import RELEVANT

Floats: TypeAlias = NDArray[np.float64]

CUTOFF = 10
"""Ranks that nDCG looks at."""


@dataclass(frozen=True, eq=False)
class Judgements:
    """Labels of pairs that lie query by query."""

    labels: Floats
    """[pairs]"""
    starts: NDArray[np.int64]
    """[queries + 1]: the pairs of query q are ``starts[q]`` to ``starts[q + 1]``."""

    @property
    def queries(self) -> int:
        """How many."""
        return len(self.starts) - 1

    def head(self, queries: int) -> Judgements:
        """The first queries only."""
        starts = self.starts[: queries + 1]
        return Judgements(self.labels[: starts[-1]], starts)

    def by_query(self, *arrays: Floats) -> Iterator[tuple[Floats, ...]]:
        """Parts of the labels and of ``arrays`` [pairs], a query at a time."""
        for low, high in zip(self.starts[:-1], self.starts[1:], strict=True):
            yield tuple(array[low:high] for array in (self.labels, *arrays))


def resamples(queries: int, count: int, seed: int) -> Floats:
    """[1 + count, queries]: how often each query is drawn; the first row is the sample itself."""
    random = np.random.default_rng(seed)
    drawn = random.multinomial(queries, np.full(queries, 1 / queries), count)
    return np.concatenate([np.ones((1, queries)), drawn])


def measured(metric: str, judged: Judgements, scores: Floats, draws: Floats) -> Floats:
    """A metric of ``scores`` [pairs] in each of ``draws`` (see ``resamples``), [1 + count]."""
    if metric == "auc":
        return _auc(judged, scores, draws)
    values = np.array([_PER_QUERY[metric](*part) for part in judged.by_query(scores)])
    return mean(values, draws)


def mean(values: Floats, draws: Floats) -> Floats:
    """Of one value a query, in each of ``draws``, [1 + count]."""
    found: Floats = draws @ values / draws.sum(axis=1)
    return found


def pair_accuracy(labels: Floats, scores: Floats) -> float:
    """Share of a query's pairs of unequal label in the right order; chance is 0.5."""
    better = labels[:, None] > labels[None, :]
    return float(_wins(scores, scores)[better].mean())


def ndcg(labels: Floats, scores: Floats) -> float:
    """nDCG@10 of one query, gain linear in the label (as trec_eval), ties averaged."""
    labels = np.maximum(labels, 0.0)
    order = np.argsort(-scores, kind="stable")
    _, group, sizes = np.unique(-scores[order], return_inverse=True, return_counts=True)
    gains = (np.bincount(group, labels[order]) / sizes)[group]
    discount = 1 / np.log2(np.arange(2, min(len(labels), CUTOFF) + 2))
    best = np.sort(labels)[::-1][: len(discount)] @ discount
    return float(gains[: len(discount)] @ discount / best) if best else 0.0


_PER_QUERY = {"pair_accuracy": pair_accuracy, "ndcg": ndcg}


def _auc(judged: Judgements, scores: Floats, draws: Floats) -> Floats:
    """Of all pairs at once, across queries: whether one threshold could serve them all."""
    is_relevant = judged.labels >= RELEVANT
    query = np.repeat(np.arange(judged.queries), np.diff(judged.starts))
    wins = np.zeros((judged.queries, judged.queries))
    for at in range(judged.queries):
        mine = is_relevant & (query == at)
        against = _wins(scores[mine], scores[~is_relevant]).sum(axis=0)
        wins[at] = np.bincount(query[~is_relevant], against, judged.queries)
    sizes = [
        np.bincount(query[part], minlength=judged.queries) for part in (is_relevant, ~is_relevant)
    ]
    total = (draws @ sizes[0]) * (draws @ sizes[1])
    found: Floats = ((draws @ wins) * draws).sum(axis=1) / np.maximum(total, 1)
    return found


def _wins(above: Floats, below: Floats) -> Floats:
    """1 where a score of ``above`` is the higher one, 0.5 where equal; [above, below]."""
    found: Floats = 0.5 * (np.sign(above[:, None] - below[None, :]) + 1)
    return found
