"""Answers of several calls as one: uploads in chunks, scores in blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minireranker.errors import EmptyQueryError, NoDocumentsError

from .client_errors import failed_of
from .client_messages import chunks, content_of, document_of, timings_of, tokens_of
from .client_options import ClientOptions
from .generated import reranker_pb2 as pb
from .jobs import Failed, IndexOutcome, ScoreOutcome, Timings, Tokens

__all__ = ["Indexing", "Scoring"]


class Indexing:
    """Results of uploads, in the order of the documents."""

    def __init__(self, options: ClientOptions, instruction: str | None) -> None:
        """``instruction``: of every upload; ``options`` say how much goes into one."""
        self._options, self._instruction = options, instruction
        self._ids: list[str | None] = []
        self._failed: list[Failed] = []
        self._times, self._tokens = Timings(), Tokens()

    def chunks(self, documents: Iterable[Any]) -> Iterator[list[pb.Document]]:
        """Documents of one upload after the other. Raises InputError."""
        return chunks(documents, self._options.upload_documents, self._options.upload_bytes)

    def requests(self, chunk: Sequence[pb.Document]) -> Iterator[pb.IndexRequest]:
        """The messages of one upload."""
        for document in chunk:
            yield pb.IndexRequest(document=document, instruction=self._instruction)

    def add(self, count: int, results: Sequence[pb.IndexResult]) -> None:
        """What an upload of ``count`` documents was answered with."""
        start = len(self._ids)
        self._ids += [None] * count
        for result in results:
            at = start + result.index
            if result.WhichOneof("result") == "failure":
                failed = failed_of(result.failure)
                self._failed.append(dataclasses.replace(failed, index=at))
            else:
                self._ids[at] = result.id
            self._times = Timings(*_sums(self._times, timings_of(result.timings)))
            self._tokens = Tokens(*_sums(self._tokens, tokens_of(result.usage)))

    def outcome(self) -> IndexOutcome:
        """Of all of them."""
        return IndexOutcome(tuple(self._ids), tuple(self._failed), self._times, self._tokens)


class Scoring:
    """Scores of blocks, each of some queries and some documents."""

    def __init__(
        self, queries: Sequence[Any], documents: Sequence[Any], instruction: str | None
    ) -> None:
        """Raises EmptyQueryError and NoDocumentsError where there are none, and InputError."""
        if not queries:
            raise EmptyQueryError("no queries were given; pass at least one")
        if not documents:
            raise NoDocumentsError("no documents were given; pass at least one")
        self._queries = [content_of(query) for query in queries]
        self._documents = [document_of(document) for document in documents]
        self._instruction = instruction
        self._scores = np.full((len(queries), len(documents)), np.nan, np.float32)
        self._failed: dict[tuple[int, int | None], Failed] = {}
        self._times, self._tokens = Timings(), Tokens()
        self._at = (0, 0)

    def requests(self, info: pb.InfoResponse) -> Iterator[pb.ScoreRequest]:
        """One a block, within the server's limits; ``add`` comes before the next."""
        rows = min(len(self._queries), info.max_queries, info.queue_documents)
        columns = max(min(info.max_documents, info.queue_documents // rows), 1)
        for top in range(0, len(self._queries), rows):
            for left in range(0, len(self._documents), columns):
                self._at = top, left
                yield pb.ScoreRequest(
                    queries=self._queries[top : top + rows],
                    documents=self._documents[left : left + columns],
                    instruction=self._instruction,
                )

    def add(self, block: ScoreOutcome) -> None:
        """What the last request was answered with."""
        (top, left), (height, width) = self._at, block.scores.shape
        self._scores[top : top + height, left : left + width] = block.scores
        for one in block.failed:
            query = None if one.query is None else one.query + top
            moved = dataclasses.replace(one, index=one.index + left, query=query)
            self._failed[moved.index, query] = moved
        self._times = Timings(*_sums(self._times, block.timings))
        self._tokens = Tokens(*_sums(self._tokens, block.tokens))

    def outcome(self) -> ScoreOutcome:
        """Of all blocks."""
        failed = sorted(self._failed.values(), key=lambda one: (one.index, one.query or 0))
        return ScoreOutcome(self._scores, tuple(failed), self._times, self._tokens)


def _sums(one: Any, other: Any) -> list[int]:
    """Field by field, of two records of integers."""
    pairs = zip(dataclasses.astuple(one), dataclasses.astuple(other), strict=True)
    return [sum(pair) for pair in pairs]
