"""Candidate lists of a call: what a caller may pass, read into candidates that lists share."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from minireranker.errors import (
    ConfigurationError,
    EmptyQueryError,
    InputError,
    MinirerankerError,
    NoDocumentsError,
)

from .call import Call
from .content import Document, DocumentId, Query
from .matching import Asked, Candidate
from .progress import Progress
from .state import EngineState
from .work import Meter


def given_documents(documents: Iterable[Any]) -> list[Any]:
    """Several documents, or one. Raises NoDocumentsError if there is none, else InputError."""
    listed = given_candidates(documents)
    if not listed:
        raise NoDocumentsError("no documents were given; pass at least one")
    return listed


def given_candidates(documents: Iterable[Any]) -> list[Any]:
    """Several documents, one, or none. Raises InputError for what is no list."""
    if _is_one(documents):
        return [documents]
    if not isinstance(documents, Iterable):
        raise InputError(f"documents are {type(documents).__name__}; pass a list of documents")
    return list(documents)


def given_queries(queries: Any) -> list[Any]:
    """Several queries, or one."""
    is_several = isinstance(queries, Iterable) and not _is_one(queries)
    return list(queries) if is_several else [queries]


def check_instruction(instruction: Any) -> None:
    """Raise ConfigurationError for what is no sentence."""
    if not isinstance(instruction, str | None):
        raise ConfigurationError(f"instruction is {type(instruction).__name__}; pass a str")


def check_top_k(top_k: Any) -> None:
    """Raise ConfigurationError for what is no count."""
    try:
        count = 0 if top_k is None else operator.index(top_k)
    except TypeError:
        count = -1
    if count < 0:
        raise ConfigurationError(f"top_k = {top_k!r}: allowed is 0 or more, or None for all")


def name_of(original: Any) -> str | None:
    """A document's own id, if it can be told even though the document is not sound."""
    if isinstance(original, DocumentId):
        return str(original)
    found = original.get("id") if isinstance(original, dict) else getattr(original, "id", None)
    return found if isinstance(found, str) else None


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


def _is_one(value: Any) -> bool:
    """Whether it is one query or document and not several: a picture is an iterable of rows."""
    if isinstance(value, str | bytes | bytearray | Mapping | Query | os.PathLike):
        return True
    return hasattr(value, "__array_interface__") or hasattr(value, "convert")


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
