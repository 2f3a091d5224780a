"""Stages behind one another, each looking closer at fewer documents than the one before."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from minireranker.engine.content import Query
from minireranker.engine.given import check_instruction, given_queries
from minireranker.engine.results import probability
from minireranker.errors import ConfigurationError, EmptyQueryError, InputError

from .rerank import Rerank
from .search_call import Scored, SearchCall
from .search_result import Hit, SearchResult, StageRecord
from .stages import Rescore, Retrieve, Stage


class Cascade:
    """Searches an index in stages: ``Cascade([Retrieve(...), Rescore(...), Rerank(...)])``.

    The first is a Retrieve, or a Rescore over a whole index; of the others any may be left out or
    come several times. Stages may share an index or look into several: ids join them. A document
    that a later stage does not know or cannot score is named in the result and goes no further.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        """Raises ConfigurationError for stages that cannot follow one another."""
        if not isinstance(stages, Iterable):
            raise ConfigurationError(
                f"stages are {type(stages).__name__}; pass a list, such as [Retrieve(...), "
                "Rerank(...)]"
            )
        self.stages = tuple(stages)
        _check(self.stages)
        self._names = _names(self.stages)
        held = [stage.index for stage in self.stages]
        self._indexes = [*dict.fromkeys(index for index in held if index is not None)]

    def search(
        self, query: Any, *, instruction: str | None = None, progress: bool | None = None
    ) -> SearchResult:
        """The best documents for a query, in any form ``Reranker`` takes.

        ``instruction``: the task in one sentence, for encoders and reranker. An index without
        documents gives no hits. Raises EmptyQueryError and InputError for the query,
        ConfigurationError for the instruction, VectorIndexError for a damaged index.
        """
        if len(given_queries(query)) != 1:
            raise InputError("search takes one query; use search_many for several")
        return self.search_many(query, instruction=instruction, progress=progress)[0]

    def search_many(
        self, queries: Any, *, instruction: str | None = None, progress: bool | None = None
    ) -> list[SearchResult]:
        """One result a query. They are encoded together, and a document is read once for all.

        Raises like ``search``.
        """
        check_instruction(instruction)
        read = [Query.of(query) for query in given_queries(queries)]
        for at, query in enumerate(read):
            if query.content.is_empty:
                raise EmptyQueryError(
                    f"query {at} has neither text nor an image nor a video; say what is searched "
                    "for"
                )
        if not read:
            return []
        with torch.inference_mode():
            return self._search(SearchCall(read, instruction, progress, self._indexes))

    def _search(self, call: SearchCall) -> list[SearchResult]:
        records: list[list[StageRecord]] = [[] for _ in call.queries]
        lists: list[Sequence[str]] | None = None
        for name, stage in zip(self._names, self.stages, strict=True):
            encoded, start = call.encode_seconds, time.perf_counter()
            found = stage.run(call, lists)
            encoding = call.encode_seconds - encoded
            times = encoding, time.perf_counter() - start - encoding
            for own, scored in zip(records, found, strict=True):
                own.append(_record(name, stage, scored, *times))
            lists = [own[-1].ids[: own[-1].kept].tolist() for own in records]
        return [SearchResult(_hits(call, own), tuple(own)) for own in records]


def _record(
    name: str, stage: Stage, scored: Scored, encoding: float, searching: float
) -> StageRecord:
    count = len(scored.ids)
    return StageRecord(
        name,
        stage.system,
        scored.candidates,
        count if stage.top_k is None else min(stage.top_k, count),
        scored.ids,
        scored.scores,
        scored.failed,
        encoding,
        searching,
        scored.work,
    )


def _hits(call: SearchCall, stages: Sequence[StageRecord]) -> tuple[Hit, ...]:
    last = stages[-1]
    names: list[str] = last.ids[: last.kept].tolist()
    wanted = set(names)
    scores: dict[str, dict[str, float]] = {name: {} for name in names}
    reranked: dict[str, float] = {}
    for stage in stages:
        for name, score in zip(stage.ids.tolist(), stage.scores.tolist(), strict=True):
            if name in wanted:
                scores[name][stage.name] = score
                if stage.system == Rerank.system:
                    reranked[name] = probability(score)
    return tuple(
        Hit(rank, name, scores[name], reranked.get(name), call.source(name))
        for rank, name in enumerate(names, 1)
    )


def _names(stages: Sequence[Stage]) -> list[str]:
    """Each stage's kind, numbered where there are several: rescore, rescore-2."""
    names: list[str] = []
    for at, stage in enumerate(stages):
        before = sum(other.kind == stage.kind for other in stages[:at])
        names.append(f"{stage.kind}-{before + 1}" if before else stage.kind)
    return names


def _check(stages: Sequence[Any]) -> None:
    for at, stage in enumerate(stages):
        if not isinstance(stage, Retrieve | Rescore | Rerank):
            raise ConfigurationError(
                f"stage {at + 1} is {type(stage).__name__}; pass Retrieve, Rescore or Rerank"
            )
        if isinstance(stage, Retrieve) and at:
            raise ConfigurationError(
                f"stage {at + 1} is Retrieve, which looks at all documents: put it first, or use "
                "Rescore"
            )
    if not stages or isinstance(stages[0], Rerank):
        raise ConfigurationError(
            "a cascade begins with Retrieve(index, encoder), or Rescore over a whole index"
        )
    _check_narrowing(stages)


def _check_narrowing(stages: Sequence[Stage]) -> None:
    most = None
    for at, stage in enumerate(stages):
        if most is not None and stage.top_k is not None and stage.top_k > most:
            raise ConfigurationError(
                f"stage {at + 1} ({stage.kind}) keeps {stage.top_k} of the {most} documents it is "
                f"given: let the stages before it keep more, or this one at most {most}"
            )
        most = stage.top_k if stage.top_k is not None else most
