"""From scored candidates to what a caller gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireranker.cache import KeptTokens
from minireranker.errors import MinirerankerError, RejectedDocumentsError

from .matching import Candidate
from .types import FailedDocument, KeptVisual, RankedDocument, Ranking
from .work import Meter


def ranking(
    originals: Sequence[Any], candidates: Sequence[Candidate], top_k: int | None, meter: Meter
) -> Ranking:
    """Best first, ties by place; the failed ones apart."""
    scored: list[tuple[int, float]] = []
    failed = []
    for index, (original, candidate) in enumerate(zip(originals, candidates, strict=True)):
        outcome = _outcome(candidate, 0)
        if isinstance(outcome, MinirerankerError):
            failed.append(FailedDocument(index, candidate.document.id, outcome, original))
        else:
            scored.append((index, outcome))
    scored.sort(key=lambda pair: (-pair[1], pair[0]))
    kept = scored if top_k is None else scored[: max(top_k, 0)]
    hits = [_hit(at, score, originals[at], candidates[at]) for at, score in kept]
    return Ranking(tuple(hits), tuple(failed), meter.timings, meter.work)


def _hit(index: int, score: float, original: Any, candidate: Candidate) -> RankedDocument:
    visuals = tuple(_kept(visual) for visual in candidate.visuals)
    identity = candidate.document.id
    return RankedDocument(index, identity, score, probability(score), original, visuals)


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


def _kept(visual: KeptTokens) -> KeptVisual:
    indices = visual.indices.cpu().numpy().astype(np.int64)
    return KeptVisual(visual.grid, indices)


def _outcome(candidate: Candidate, query: int) -> float | MinirerankerError:
    error = candidate.error or candidate.errors.get(query)
    return candidate.scores[query] if error is None else error


def probability(score: float) -> float:
    """Of relevance, 0 to 1: the sigmoid of a score, without overflow for large negative ones."""
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
