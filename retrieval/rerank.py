"""The last stage of a cascade: the reranker, and how an id becomes a document it can read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from minireranker.engine.content import DocumentId
from minireranker.engine.lists import score_lists
from minireranker.engine.reranker import Reranker
from minireranker.engine.results import score_rows
from minireranker.engine.types import FailedDocument, Work
from minireranker.errors import ConfigurationError, UnknownDocumentError

from .built import added
from .search_call import Scored, SearchCall
from .sources import document_of
from .stages import check_kept

_Outcome: TypeAlias = "dict[str, float | FailedDocument]"
"""Of one query's documents, by id."""


@dataclass(frozen=True, eq=False)
class Rerank:
    """The reranker's score. A document several queries share is read once.

    An id is what the reranker indexed under it; where it knows none, or no longer has it, what
    ``documents`` says; else what the index of an earlier stage keeps of the document: texts and
    paths, which are read again. A document that cannot be scored is named in the result and takes
    nobody's place.
    """

    reranker: Reranker
    top_k: int | None = 10
    documents: Mapping[str, Any] | None = None
    """Documents by id, in any form the reranker takes."""
    kind: ClassVar[str] = "rerank"
    system: ClassVar[str] = "reranker"
    index: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Raise ConfigurationError for what is no reranker, mapping or count."""
        check_kept(self.top_k)
        if not isinstance(self.reranker, Reranker):
            raise ConfigurationError(
                f"the reranker is {type(self.reranker).__name__}; pass a Reranker, as "
                "Reranker.from_pretrained gives it"
            )
        if not isinstance(self.documents, Mapping | None):
            raise ConfigurationError(
                f"documents are {type(self.documents).__name__}; pass a mapping {{id: document}}"
            )

    def run(self, call: SearchCall, lists: Sequence[Sequence[str]] | None) -> list[Scored]:
        """See Stage."""
        assert lists is not None, "a cascade does not begin with it"
        found: list[_Outcome] = [{} for _ in lists]
        work = Work()
        for resolve in (self._indexed, self._given, self._kept):
            waiting = [
                [name for name in names if _is_unknown(outcome.get(name))]
                for names, outcome in zip(lists, found, strict=True)
            ]
            if wanted := list(dict.fromkeys(name for names in waiting for name in names)):
                work = added(work, self._score(call, waiting, resolve(call, wanted), found))
        return [_scored(names, each, work) for names, each in zip(lists, found, strict=True)]

    def _indexed(self, call: SearchCall, names: Sequence[str]) -> dict[str, Any]:
        known = self.reranker.state.library.catalog.documents(names)
        return {name: DocumentId(name) for name in names if name in known}

    def _given(self, call: SearchCall, names: Sequence[str]) -> dict[str, Any]:
        documents = self.documents or {}
        return _present(names, documents.get)

    def _kept(self, call: SearchCall, names: Sequence[str]) -> dict[str, Any]:
        return _present(names, lambda name: document_of(name, call.source(name)))

    def _score(
        self,
        call: SearchCall,
        waiting: Sequence[Sequence[str]],
        documents: Mapping[str, Any],
        found: Sequence[_Outcome],
    ) -> Work:
        """Score what was resolved; what fails is an outcome too. What that took."""
        lists = [[name for name in names if name in documents] for names in waiting]
        if not any(lists):
            return Work()
        originals = [[documents[name] for name in names] for names in lists]
        rows, meter = score_lists(
            self.reranker.state, call.queries, originals, call.instruction, call.progress
        )
        for query, (names, own, row) in enumerate(zip(lists, originals, rows, strict=True)):
            scores, failed = score_rows(own, row, query)
            found[query].update(zip(names, scores.tolist(), strict=True))
            found[query].update((names[each.index], each) for each in failed)
        return meter.work


def _present(names: Iterable[str], look_up: Callable[[str], Any]) -> dict[str, Any]:
    """What there is of the documents."""
    found = ((name, look_up(name)) for name in names)
    return {name: document for name, document in found if document is not None}


def _is_unknown(outcome: float | FailedDocument | None) -> bool:
    """Whether another way to the document is worth a try."""
    if isinstance(outcome, FailedDocument):
        return isinstance(outcome.error, UnknownDocumentError)
    return outcome is None


def _scored(names: Sequence[str], outcomes: _Outcome, work: Work) -> Scored:
    kept, scores, failed = list[str](), list[float](), list[FailedDocument]()
    for at, name in enumerate(names):
        outcome = outcomes[name] if name in outcomes else _unresolved(name)
        if isinstance(outcome, FailedDocument):
            failed.append(dataclasses.replace(outcome, index=at, id=name, query=None))
        else:
            kept.append(name)
            scores.append(outcome)
    return Scored(kept, np.array(scores, np.float32), len(names), failed, work)


def _unresolved(name: str) -> FailedDocument:
    error = UnknownDocumentError(
        f"the reranker has not indexed document {name!r}, and no index keeps where it can be read: "
        "index it with the reranker, or pass Rerank(documents={id: document})"
    )
    return FailedDocument(0, name, error, DocumentId(name))
