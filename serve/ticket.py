"""A job on its way: which of its documents are done, what came of them, how long it took."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np

from minireranker.engine.given import name_of
from minireranker.engine.results import probability

from .jobs import (
    Answer,
    Failed,
    IndexOutcome,
    Job,
    Outcome,
    Refused,
    Scored,
    ScoreOutcome,
    Timings,
    Tokens,
    round_of,
)
from .parts import Part, PartAnswer
from .weight import held_bytes, likely_tokens, work_of

__all__ = ["Ticket"]


class Ticket:
    """A job in the queue. ``future`` gets its answer, or the error that ends it.

    Attributes: ``since`` (monotonic ns from which it has been waiting), ``place`` (in the queue:
    the lowest is next), ``nbytes`` (content it holds), ``started`` (whether a round has had any of
    it).
    """

    def __init__(self, job: Job, future: asyncio.Future[Answer]) -> None:
        """Documents that failed before they got here are set aside with their errors."""
        self.job, self.future = job, future
        self.since = self._begun = time.monotonic_ns()
        self.place = 0
        self.nbytes = sum(map(held_bytes, (*job.queries, *job.documents)))
        self.started = False
        self._failed: list[Failed] = []
        self._sound: list[int] = []
        for index, document in enumerate(job.documents):
            if isinstance(document, Refused):
                self._failed.append(Failed(index, document.id, document.error))
            else:
                self._sound.append(index)
        self._weights = [likely_tokens(job.documents[index]) for index in self._sound]
        self._taken, self._tokens_left = 0, sum(self._weights)
        shape = job.rows, len(job.documents)
        self._scores = np.full(shape if job.queries else (0, 0), np.nan, np.float32)
        self._ids: list[str | None] = [None] * len(job.documents)
        self._kept: dict[int, tuple[Any, ...]] = {}
        self._queue = self._computed = self._cached = 0
        self._stages = {"inputs": 0, "prefix": 0, "suffix": 0}

    @property
    def group(self) -> tuple[str, str, str | None]:
        """What jobs of one engine call have in common."""
        return self.job.tenant, round_of(self.job.kind), self.job.instruction

    @property
    def left(self) -> int:
        """Documents no round has taken yet."""
        return len(self._sound) - self._taken

    @property
    def waiting(self) -> int:
        """What it counts in the queue: its documents left, once for each query."""
        return self.left * self.job.rows

    @property
    def work(self) -> int:
        """Of its documents left."""
        return work_of(self._tokens_left, self.left, self.job.rows)

    @property
    def waited(self) -> float:
        """Seconds since it came, or since its last round."""
        return (time.monotonic_ns() - self.since) / 1e9

    def weight(self, ahead: int) -> int:
        """Likely tokens of the document that comes after ``ahead`` more."""
        return self._weights[self._taken + ahead]

    def held(self, ahead: int) -> int:
        """Bytes of the document that comes after ``ahead`` more."""
        return held_bytes(self.job.documents[self._sound[self._taken + ahead]])

    def take(self, count: int) -> Part:
        """The next documents, for a round that starts now."""
        now = time.monotonic_ns()
        self._queue += now - self.since
        places = tuple(self._sound[self._taken : self._taken + count])
        self._tokens_left -= sum(self._weights[self._taken : self._taken + count])
        self._taken += count
        self.started = True
        documents = tuple(self.job.documents[index] for index in places)
        return Part(self.job.queries, documents, places, self.job.want_kept)

    def put(self, part: Part, answer: PartAnswer) -> None:
        """What a round made of documents it took."""
        self.since = time.monotonic_ns()
        for stage, seconds in answer.stages.items():
            self._stages[stage] += int(seconds * 1e9)
        self._computed += answer.tokens.computed
        self._cached += answer.tokens.cached
        at = list(part.places)
        if answer.scores is not None:
            self._scores[:, at] = answer.scores
        for index, identity in zip(at, answer.ids, strict=False):
            self._ids[index] = identity
        for index, visuals in zip(at, answer.kept, strict=False):
            self._kept[index] = visuals
        for place, query, error in answer.failed:
            document = self.job.documents[at[place]]
            self._failed.append(Failed(at[place], name_of(document), error, query))

    def answer(self) -> Answer:
        """Of all that was put."""
        total = time.monotonic_ns() - self._begun
        timings = Timings(queue=self._queue, total=total, **self._stages)
        tokens = Tokens(self._computed, self._cached)
        failed = tuple(sorted(self._failed, key=lambda one: (one.index, one.query or 0)))
        if self.job.kind == "index":
            return IndexOutcome(tuple(self._ids), failed, timings, tokens)
        if self.job.kind == "score":
            return ScoreOutcome(self._scores, failed, timings, tokens)
        return Outcome(self._ranked(), failed, timings, tokens)

    def _ranked(self) -> tuple[Scored, ...]:
        bad = {one.index for one in self._failed}
        row = self._scores[0].tolist()
        best = [index for index in self._sound if index not in bad]
        best.sort(key=lambda index: (-row[index], index))
        return tuple(self._scored(index, row[index]) for index in best[: self.job.top_k])

    def _scored(self, index: int, score: float) -> Scored:
        identity = name_of(self.job.documents[index])
        return Scored(index, identity, score, probability(score), self._kept.get(index, ()))
