"""Candidate lists of a call, scored: a document in several lists is one candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minireranker.errors import (
    EmptyQueryError,
    MinirerankerError,
)

from .call import Call
from .content import Document, Query
from .given import check_instruction, name_of
from .matching import Asked, Candidate
from .progress import Progress
from .state import EngineState
from .work import Meter


def score_lists(
    state: EngineState,
    queries: Sequence[Any],
    lists: Sequence[Sequence[Any]],
    instruction: str | None,
    progress: bool | None,
) -> tuple[list[list[Candidate]], Meter]:
    """The candidates of each query's list, scored; a document in several lists is one candidate.

    Raises EmptyQueryError, and InputError for a query that cannot be read.
    """
    check_instruction(instruction)
    with Progress("reranking", 0, progress) as bar:
        call = Call(state, instruction, bar.advance)
        asked = [_ask(call, query, index) for index, query in enumerate(queries)]
        shared: dict[object, Candidate] = {}
        found: list[list[Candidate]] = []
        for query, originals in zip(asked, lists, strict=True):
            found.append([_shared(shared, original, query) for original in originals])
        candidates = list(shared.values())
        bar.total = sum(1 + len(candidate.queries) for candidate in candidates)
        call.run(candidates)
    return found, call.meter


def _ask(call: Call, query: Any, index: int) -> Asked:
    content = Query.of(query).content
    if content.is_empty:
        raise EmptyQueryError(
            f"query {index} has neither text nor an image nor a video; say what is searched for"
        )
    return call.ask(content, index)


def _shared(known: dict[object, Candidate], original: Any, query: Asked) -> Candidate:
    """The call's candidate for a document: the same for the same object, text or id."""
    hashed = type(original), str(original) if isinstance(original, str) else id(original)
    if hashed not in known:
        known[hashed] = _candidate(original)
    candidate = known[hashed]
    if not candidate.queries or candidate.queries[-1] is not query:
        candidate.queries.append(query)
    return candidate


def _candidate(original: Any) -> Candidate:
    try:
        return Candidate(Document.of(original))
    except MinirerankerError as error:
        return Candidate(Document(id=name_of(original)), error=error)
