"""How far two runs of a model agree on the order of each query's documents.

Always within queries: that one query's scores are all higher than another's is no agreement on any
document, and scores that do not see the documents would show it too.
"""

from __future__ import annotations

import numpy as np

from .quality import Floats, Judgements, mean

_ROUNDING = float(16 * np.finfo(np.float32).eps ** 2)
"""Share of the scores' energy below which their differences are rounding."""


def pearson(judged: Judgements, one: Floats, other: Floats, draws: Floats) -> Floats:
    """Correlation of scores [pairs] less their query's mean, in each of ``draws``: [1 + count].

    0 where one of the two says nothing about any document.
    """
    sums = np.array([_products(a, b) for _, a, b in judged.by_query(one, other)])
    both, ones, others = (draws @ sums).T
    differ = (ones > _ROUNDING * (one @ one)) & (others > _ROUNDING * (other @ other))
    found: Floats = np.where(differ, both / np.sqrt(np.where(differ, ones * others, 1.0)), 0.0)
    return found


def kendall(judged: Judgements, one: Floats, other: Floats, draws: Floats) -> Floats:
    """Kendall's tau-b within each query, the mean over queries, in each of ``draws``."""
    values = np.array([_tau(a, b) for _, a, b in judged.by_query(one, other)])
    return mean(values, draws)


def _products(one: Floats, other: Floats) -> tuple[float, float, float]:
    a, b = one - one.mean(), other - other.mean()
    return float(a @ b), float(a @ a), float(b @ b)


def _tau(one: Floats, other: Floats) -> float:
    """tau-b: (concordant - discordant) / sqrt(untied in one * untied in other)."""
    a, b = (np.sign(scores[:, None] - scores[None, :]) for scores in (one, other))
    size = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / size) if size else 0.0
