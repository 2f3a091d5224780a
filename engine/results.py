"""From scored candidates to what a caller gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireranker.errors import MinirerankerError, RejectedDocumentsError

from .matching import Candidate
from .types import FailedDocument, RankedDocument, Ranking
from .work import Meter


def ranking(
    originals: Sequence[Any], candidates: Sequence[Candidate], top_k: int | None, meter: Meter
) -> Ranking:
    """Best first, ties by place; the failed ones apart."""
    hits, failed = [], []
    for index, (original, candidate) in enumerate(zip(originals, candidates, strict=True)):
        outcome = _outcome(candidate, 0)
        if isinstance(outcome, MinirerankerError):
            failed.append(FailedDocument(index, candidate.document.id, outcome, original))
        else:
            identity = candidate.document.id
            hits.append(RankedDocument(index, identity, outcome, _probability(outcome), original))
    hits.sort(key=lambda hit: (-hit.score, hit.index))
    kept = hits if top_k is None else hits[: max(top_k, 0)]
    return Ranking(tuple(kept), tuple(failed), meter.timings, meter.work)


def score_rows(
    originals: Sequence[Any], candidates: Sequence[Candidate], query: int
) -> tuple[NDArray[np.float32], list[FailedDocument]]:
    """Scores of one query's documents in order, NaN where one failed, and the failed ones."""
    scores = np.full(len(originals), np.nan, np.float32)
    failed = []
    for index, (original, candidate) in enumerate(zip(originals, candidates, strict=True)):
        outcome = _outcome(candidate, query)
        if isinstance(outcome, MinirerankerError):
            where = None if candidate.error is not None else query
            failed.append(FailedDocument(index, candidate.document.id, outcome, original, where))
        else:
            scores[index] = outcome
    return scores, failed


def _outcome(candidate: Candidate, query: int) -> float | MinirerankerError:
    error = candidate.error or candidate.errors.get(query)
    return candidate.scores[query] if error is None else error


def _probability(score: float) -> float:
    """Sigmoid, without overflow for large negative scores."""
    if score >= 0:
        return 1.0 / (1.0 + math.exp(-score))
    return math.exp(score) / (1.0 + math.exp(score))


def raise_failed(failed: Sequence[Sequence[FailedDocument]], result: object) -> None:
    """Raise RejectedDocumentsError around what was computed, if any document failed.

    ``failed``: one list a query. A document that failed in itself is named once.
    """
    distinct = {(id(item.document), item.query): item for row in failed for item in row}
    if distinct:
        raise RejectedDocumentsError(list(distinct.values()), result)
