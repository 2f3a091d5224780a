"""Candidate lists of a call: what a caller may pass, read into candidates that lists share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from minireranker.errors import EmptyQueryError, MinirerankerError, NoDocumentsError

from .call import Call
from .content import Document, DocumentId, Query
from .matching import Asked, Candidate
from .progress import Progress


def given_documents(documents: Iterable[Any]) -> list[Any]:
    """Several documents, or one. Raises NoDocumentsError if there is none."""
    if isinstance(documents, str | bytes | dict | Query):
        documents = [documents]
    listed = list(documents)
    if not listed:
        raise NoDocumentsError("no documents were given; pass at least one")
    return listed


def given_queries(queries: Any) -> list[Any]:
    """Several queries, or one."""
    return list(queries) if isinstance(queries, list | tuple) else [queries]


def name_of(original: Any) -> str | None:
    """A document's own id, if it can be told even though the document is not sound."""
    if isinstance(original, DocumentId):
        return str(original)
    found = original.get("id") if isinstance(original, dict) else getattr(original, "id", None)
    return found if isinstance(found, str) else None


def score_lists(
    call: Call, queries: Sequence[Any], lists: Sequence[Sequence[Any]], progress: bool | None
) -> list[list[Candidate]]:
    """The candidates of each query's list, scored; a document in several lists is one candidate.

    Raises EmptyQueryError, and InputError for a query that cannot be read.
    """
    asked = [_ask(call, query, index) for index, query in enumerate(queries)]
    shared: dict[object, Candidate] = {}
    found: list[list[Candidate]] = []
    for query, originals in zip(asked, lists, strict=True):
        found.append([_shared(shared, original, query) for original in originals])
    candidates = list(shared.values())
    with Progress("reranking", len(candidates), progress) as bar:
        for chunk in call.chunks(candidates):
            call.run(chunk)
            for candidate in chunk:
                candidate.release()
            bar.advance(len(chunk))
    return found


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
