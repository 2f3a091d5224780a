"""``train_smart``: SMART's adapter, on states of a frozen embedding model.

Source: arXiv 2605.24938. The late score alone is trained; what is measured on held-out data is the
whole score, pooled and late, as ``Smart`` computes it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.kernels import maxsim as kernel
from minireranker.retrieval.late_interaction import Adapter
from minireranker.retrieval.late_interaction.passes import unit
from minireranker.train.course import Course, Records, require_finite
from minireranker.train.masters import Masters
from minireranker.train.optimizer import Optimizer, rate_at
from minireranker.train.reading import written_ahead
from minireranker.train.repeatable import repeatable
from minireranker.train.survey import Survey, warn_skipped

from .backbone import Backbone
from .contrast import Contest
from .held_out import RetrievalLook, documents_of, measure
from .interaction import maxsim
from .lessons import Input, Lesson, Question, inputs_of, questions_of
from .opening import Opened, lessons_of, open_run, usable
from .result import LateResult
from .settings import SmartSettings
from .states import States, collect

ADAPTER = "adapter.safetensors"
"""In the run's folder."""

_TOGETHER = 64
"""Held-out documents whose states exist at once."""


def train_smart(settings: SmartSettings) -> LateResult:
    """Train an adapter, and write it as a file that ``Smart(embedder, Adapter.load(...))`` takes.

    The run's folder keeps the states of all inputs, ``width`` numbers a token, so that each is read
    once. Called again with the same settings after it was killed, a run goes on where it was, with
    the losses it would have had. Raises as ``open_run`` does, and NonFiniteScoreError.
    """
    opened = open_run(settings, "smart", lambda model: {})
    with repeatable(opened.model.device):
        states = [_collected(opened, *part, settings.batch_tokens) for part in opened.parts]
        questions = usable(opened.data.examples, states[0].failed)
        plan = lessons_of(settings, questions)
        run = _Run(settings, opened, states[0])
        look = None
        if opened.held_out is not None:
            asked = questions_of(opened.held_out.examples, states[1].failed)
            look = functools.partial(run.look, states[1], asked)
        loss, best = run.course.run(len(plan), functools.partial(run.records, plan), look)
        run.course.load_best()
    path = opened.folder.path / ADAPTER
    run.adapter.save(path)
    skipped = Survey(failed=states[0].failed).skipped(opened.data.examples)
    return LateResult(path, len(plan), loss, best, opened.folder.path / "log.jsonl", skipped)


def _collected(opened: Opened, name: str, part: Backbone, tokens: int) -> States:
    path = opened.folder.path / f"states-{name}"
    states = collect(part, inputs_of(part.examples), path, tokens)
    warn_skipped(Survey(failed=states.failed).skipped(part.examples))
    return states


@dataclass(frozen=True, eq=False)
class _Step:
    """A contest, with the states of all its inputs."""

    contest: Contest
    states: dict[Input, Tensor]


class _Run:
    """The steps."""

    def __init__(self, settings: SmartSettings, opened: Opened, states: States) -> None:
        self._settings, self._states = settings, states
        self._device = opened.model.device
        self.adapter = Adapter(opened.model.width).to(self._device)
        masters = Masters(dict(self.adapter.named_parameters()))
        self._optimizer = Optimizer(masters.tensors, settings)
        self.course = Course(masters, self._optimizer, opened.folder, settings, RetrievalLook)

    def records(self, plan: Sequence[Sequence[Lesson]], first: int) -> Records:
        """One step each; see Course."""
        for number, step in enumerate(written_ahead(plan[first:], self._load), first):
            loss = self._loss(step)
            loss.backward()  # type: ignore[no-untyped-call]
            queries, documents = len(step.contest.queries), len(step.contest.documents)
            mean = float(loss.detach()) / queries
            require_finite(mean, number)
            rate = rate_at(number, len(plan), self._settings)
            norm = self._optimizer.step(queries, rate)
            counts = {"queries": queries, "documents": documents}
            yield {"step": number + 1, "loss": mean, "rate": rate, "norm": norm, **counts}

    @torch.no_grad()
    def look(self, states: States, questions: Sequence[Question], step: int) -> RetrievalLook:
        """Every held-out query against every held-out document."""
        documents = documents_of(questions)
        queries = [question.query for question in questions]
        if not queries:
            return RetrievalLook(step, math.nan, math.nan)
        asked = self._adapted([states.kept(item) for item in queries])
        pooled = _pooled(states, queries)
        parts = []
        for first in range(0, len(documents), _TOGETHER):
            items = [Input(at, False) for at in documents[first : first + _TOGETHER]]
            found = self._adapted([states.kept(item) for item in items])
            parts.append(pooled @ _pooled(states, items).T + _scored(asked, found))
        scores: NDArray[np.float32] = torch.cat(parts, 1).numpy()
        return RetrievalLook(step, *measure(questions, documents, scores))

    def _load(self, lessons: Sequence[Lesson]) -> _Step:
        contest = Contest.of(lessons, self._states.extents)
        assert contest is not None, "lessons are of what has states"
        listed = dict.fromkeys((*contest.queries, *contest.documents))
        return _Step(contest, {item: self._states.kept(item) for item in listed})

    def _loss(self, step: _Step) -> Tensor:
        """Summed over the queries."""
        vectors = dict(zip(step.states, self._adapted(list(step.states.values())), strict=True))
        queries = [vectors[item] for item in step.contest.queries]
        documents = [vectors[item] for item in step.contest.documents]
        scores = maxsim(queries, documents, reduce="mean")
        return step.contest.loss(scores, self._settings.temperature)

    def _adapted(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Unit length, behind the adapter."""
        rows = unit(self.adapter(torch.cat(list(states)).to(self._device)))
        return list(torch.split(rows, [len(each) for each in states]))


def _pooled(states: States, items: Sequence[Input]) -> Tensor:
    return unit(torch.stack([states.pooled(item) for item in items]))


def _scored(queries: Sequence[Tensor], documents: Sequence[Tensor]) -> Tensor:
    """MaxSim with the mean over a query's tokens, [queries, documents] on the CPU."""
    lengths = torch.tensor([len(each) for each in documents])
    pool = torch.cat(list(documents))
    return kernel.maxsim(
        torch.cat(list(queries)),
        pool,
        cu_seqlens_q=[0, *itertools.accumulate(map(len, queries))],
        starts=(lengths.cumsum(0) - lengths).to(pool.device),
        lengths=lengths.to(pool.device),
        reduce="mean",
    ).cpu()
