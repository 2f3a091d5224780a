"""What can be measured: a reranker under a profile, an embedder's cosine, a retriever's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from minireranker.errors import InputError, RejectedDocumentsError
from minireranker.relevance import Dataset

from .quality_parts import Part, places

if TYPE_CHECKING:
    from minireranker import Embedder, Reranker
    from minireranker.engine import FailedDocument

__all__ = ["Cosines", "Failure", "Order", "PartScores", "Place", "Reranked", "Scorer", "Scores"]

Scores = NDArray[np.float64]
"""One score a listed document, NaN where it failed."""


@dataclass(frozen=True)
class Failure:
    """A document or a query that could not be read or scored."""

    reason: str
    document: str | None
    """None: the query itself."""
    query: str | None
    """None: the document, for every query."""

    def __str__(self) -> str:
        """What it is, and why."""
        return f"{self.what}: {self.reason}"

    @property
    def what(self) -> str:
        """Which document or query it is."""
        if self.document is None:
            return f"query {self.query}"
        return f"document {self.document}" + (f" for query {self.query}" if self.query else "")


@dataclass(frozen=True, eq=False)
class PartScores:
    """Of each query of a part its scores, as its list is ordered; and what failed."""

    scores: dict[str, Scores]
    failed: list[Failure]


@dataclass(frozen=True)
class Place:
    """What a model is computed on and in, as it was loaded; None: there is no model."""

    device: str | None = None
    dtype: str | None = None

    @classmethod
    def of(cls, device: object, dtype: object) -> Place:
        """Of torch's."""
        return cls(str(device), str(dtype).removeprefix("torch."))


class Scorer(Protocol):
    """Scores parts of a dataset."""

    @property
    def place(self) -> Place:
        """Where."""

    def score(self, part: Part) -> PartScores:
        """All pairs of ``part``. A bad query or document is a Failure, the others are scored."""


class Reranked:
    """A reranker's scores."""

    def __init__(self, reranker: Reranker, dataset: Dataset) -> None:
        """``dataset``: where parts come from."""
        self._reranker, self._dataset = reranker, dataset
        self._unreadable: dict[str, Failure] = {}
        self.place = Place.of(reranker.state.model.device, reranker.state.model.dtype)

    def score(self, part: Part) -> PartScores:
        """See Scorer."""
        queries = [query for query in part.lists if query not in self._unreadable]
        try:
            found = self._scored(queries, part)
        except InputError:
            # One of the queries; the call does not say which by its id.
            found = self._one_by_one(queries, part)
        for query in part.lists.keys() & self._unreadable.keys():
            found.scores[query] = np.full(len(part.lists[query]), np.nan)
            found.failed.append(self._unreadable[query])
        return found

    def _one_by_one(self, queries: Sequence[str], part: Part) -> PartScores:
        together = PartScores({}, [])
        for query in queries:
            try:
                found = self._scored([query], part)
            except InputError as error:
                # The call counts its queries; here it has one.
                reason = str(error).removeprefix("query 0: ")
                self._unreadable[query] = Failure(reason, None, query)
            else:
                together.scores.update(found.scores)
                together.failed.extend(found.failed)
        return together

    def _scored(self, queries: Sequence[str], part: Part) -> PartScores:
        dataset, failed = self._dataset, list[Failure]()
        asked = [dataset.queries[name] for name in queries]
        lists = [[dataset.documents[name] for name in part.lists[query]] for query in queries]
        try:
            rows = self._reranker.score_candidates(
                asked, lists, instruction=part.instruction, progress=False
            )
        except RejectedDocumentsError as error:
            rows = cast("list[NDArray[np.float32]]", error.result)
            failed = [_failure(item, queries) for item in error.failed]
        scores = {query: row.astype(np.float64) for query, row in zip(queries, rows, strict=True)}
        return PartScores(scores, failed)


class Cosines:
    """An embedding model's cosine, what a retriever by it would order by."""

    def __init__(self, embedder: Embedder, dataset: Dataset) -> None:
        """``dataset``: where parts come from. The instruction is for queries alone."""
        self._embedder, self._dataset = embedder, dataset
        self._queries: dict[str, NDArray[np.float32] | Failure] = {}
        self.place = Place.of(embedder.device, embedder.dtype)

    def score(self, part: Part) -> PartScores:
        """See Scorer."""
        self._embed_queries(part)
        names = list({name: None for listed in part.lists.values() for name in listed})
        documents = self._dataset.documents
        found = self._embedder.encode([documents[name] for name in names], progress=False)
        vectors = {
            name: item.pooled for name, item in zip(names, found, strict=True) if item is not None
        }
        failed = [Failure(str(item.error), names[item.index], None) for item in found.failed]
        scores = {}
        for query, listed in part.lists.items():
            vector = self._queries[query]
            scores[query] = np.full(len(listed), np.nan)
            if isinstance(vector, Failure):
                failed.append(vector)
                continue
            for at, name in enumerate(listed):
                if name in vectors:
                    scores[query][at] = vector @ vectors[name]
        return PartScores(scores, failed)

    def _embed_queries(self, part: Part) -> None:
        """Those that no earlier part had."""
        names = [name for name in part.lists if name not in self._queries]
        asked = [self._dataset.queries[name] for name in names]
        found = self._embedder.encode(asked, instruction=part.instruction, progress=False)
        for name, item in zip(names, found, strict=True):
            if item is not None:
                self._queries[name] = item.pooled
        for failed in found.failed:
            name = names[failed.index]
            self._queries[name] = Failure(str(failed.error), None, name)


class Order:
    """The order the candidates came in."""

    def __init__(self, dataset: Dataset) -> None:
        """``dataset``: where parts come from."""
        self._places = places(dataset)
        self.place = Place()

    def score(self, part: Part) -> PartScores:
        """See Scorer. Nothing fails: nothing is read."""
        return PartScores(
            {
                query: -np.array([self._places[query][name] for name in listed], np.float64)
                for query, listed in part.lists.items()
            },
            [],
        )


def _failure(item: FailedDocument, queries: Sequence[str]) -> Failure:
    query = None if item.query is None else queries[item.query]
    return Failure(str(item.error), item.id, query)
