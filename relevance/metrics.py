"""How good a ranking is, a number a query, computed by ``ir-measures``.

A run gives each query's documents, best first. Every judged query counts: one that the run does not
have is worth 0. Grades may be fractions; the gain of a document is its grade (as in trec_eval, not
2 ** grade - 1), the discount at rank r is log2(r + 1), and the ideal ranking is of all judged
documents, whether they are in the run or not (Jarvelin and Kekalainen 2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from minireranker.errors import ConfigurationError, InputError, MissingDependencyError

from .dataset import RELEVANT

__all__ = ["Qrels", "Run", "hit", "mrr", "ndcg"]

Qrels: TypeAlias = Mapping[str, Mapping[str, float]]
"""Of each query, the grades of its judged documents."""

Run: TypeAlias = Mapping[str, Sequence[str]]
"""Of each query, documents best first."""

_STEPS = 1_000
"""Grades that are fractions are taken in thousandths: trec_eval counts in whole numbers."""

_LEVELS = 10**6
"""The highest grade it is given: it keeps a count for every number up to it, and is silently wrong
beyond 2 ** 31."""


def ndcg(qrels: Qrels, run: Run, k: int = 10) -> dict[str, float]:
    """Normalised discounted cumulative gain of the first ``k``, 0 to 1, of each query of ``qrels``.

    A grade below 0 is worth 0; a query without a worthy document gets 0. Raises
    MissingDependencyError, ConfigurationError for ``k``, InputError for a document listed twice.
    """
    grades = [grade for judged in qrels.values() for grade in judged.values()]
    scale: float = 1 if all(float(grade).is_integer() for grade in grades) else _STEPS
    # What counts are the grades' proportions.
    scale = min(scale, _LEVELS / max(1.0, *grades)) if grades else scale
    whole = {
        query: {name: max(round(grade * scale), 0) for name, grade in judged.items()}
        for query, judged in qrels.items()
    }
    return _computed("nDCG", k, whole, run)


def hit(qrels: Qrels, run: Run, k: int = 1) -> dict[str, float]:
    """1 where one of the first ``k`` is relevant (its grade at least ``RELEVANT``), else 0.

    Raises as ``ndcg`` does.
    """
    return _computed("Success", k, _relevant(qrels), run)


def mrr(qrels: Qrels, run: Run, k: int = 10) -> dict[str, float]:
    """1 / the rank of the first relevant document (see ``hit``); 0 where the first ``k`` have none.

    Raises as ``ndcg`` does.
    """
    return _computed("RR", k, _relevant(qrels), run)


def _relevant(qrels: Qrels) -> dict[str, dict[str, int]]:
    return {
        query: {name: int(grade >= RELEVANT) for name, grade in judged.items()}
        for query, judged in qrels.items()
    }


def _computed(measure: str, k: int, qrels: dict[str, dict[str, int]], run: Run) -> dict[str, float]:
    if type(k) is not int or k < 1:
        raise ConfigurationError(f"k = {k!r}: allowed is 1 or more")
    measures = _library()
    wanted = getattr(measures, measure) @ k
    scored = {query: _scores(query, run[query]) for query in qrels if run.get(query)}
    found = dict.fromkeys(qrels, 0.0)
    if scored:
        values = measures.iter_calc([wanted], {query: qrels[query] for query in scored}, scored)
        found.update((value.query_id, float(value.value)) for value in values)
    return found


def _scores(query: str, listed: Sequence[str]) -> dict[str, float]:
    """Falling numbers without ties: how ties are ordered is the caller's to say."""
    scores = {name: float(len(listed) - at) for at, name in enumerate(listed)}
    if len(scores) != len(listed):
        raise InputError(f"query {query!r} has a document twice in its ranking; leave one")
    return scores


def _library() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise MissingDependencyError(
            "measuring quality needs ir-measures; pip install 'minireranker[quality]'"
        ) from error
    return ir_measures
