"""What an embedder holds each visual token worth, put beside the documents once for all ratios."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from minireranker.configs import Limits
from minireranker.engine.content import Document, Query
from minireranker.engine.embedder import Embedder
from minireranker.engine.reading import read_content
from minireranker.engine.resampling import resampled
from minireranker.engine.work import Meter
from minireranker.errors import MinirerankerError

from .sample import Question

_Side = TypeVar("_Side", Query, Document)


def with_importances(question: Question, embedder: Embedder | None, limits: Limits) -> Question:
    """The question with importances on the grids of ``limits``, those that came along kept.

    Raises MinirerankerError for what cannot be read, or is too long for the embedder.
    """
    documents = tuple(_weighed(item, embedder, limits) for item in question.documents)
    query = _weighed(question.query, embedder, limits)
    return dataclasses.replace(question, query=query, documents=documents)


def brings_importances(question: Question) -> bool:
    """Whether every visual of the question came with its own."""
    sides = [question.query.content, *(item.content for item in question.documents)]
    return all(
        bool(side.importances) and all(item is not None for item in side.importances)
        for side in sides
        if side.is_visual
    )


def is_visual(question: Question) -> bool:
    """Whether there is an image or a video in it."""
    sides = (question.query, *question.documents)
    return any(side.content.is_visual for side in sides)


def _weighed(side: _Side, embedder: Embedder | None, limits: Limits) -> _Side:
    content = side.content
    given = list(content.importances) or [None] * (len(content.videos) + len(content.images))
    if embedder is None or not content.is_visual or all(item is not None for item in given):
        return side
    (worth,) = embedder.importances([read_content(content, embedder.limits)], Meter())
    if isinstance(worth, MinirerankerError):
        raise worth
    visuals = read_content(content, limits).visuals
    fitted = [resampled(w, visual.token_grid) for w, visual in zip(worth, visuals, strict=True)]
    merged = [b if a is None else a for a, b in zip(given, fitted, strict=True)]
    return dataclasses.replace(side, importances=merged)
