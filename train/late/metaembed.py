"""``train_metaembed``: tokens and adapters that make an embedding model a MetaEmbed one.

Source: arXiv 2509.18095. The loss is InfoNCE in each of the nested groups, averaged over them.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minireranker.cache import Namespace
from minireranker.engine.draft import Segment
from minireranker.engine.packing import Packer
from minireranker.engine.progress import Progress
from minireranker.engine.work import Meter
from minireranker.train.course import Course, Records, require_finite
from minireranker.train.export import is_written, write_merged
from minireranker.train.lora import require_peft
from minireranker.train.optimizer import Optimizer, rate_at
from minireranker.train.reading import FrozenFeatures, written_ahead
from minireranker.train.repeatable import repeatable
from minireranker.train.survey import Survey, kept_survey

from .backbone import Backbone
from .contrast import Contest
from .encoding import Encoding
from .forward import StateForward
from .held_out import RetrievalLook
from .interaction import group_scores
from .lessons import Input, Lesson, inputs_of, questions_of
from .metaembed_held_out import MetaEmbedHeldOut
from .opening import Opened, lessons_of, open_run, usable
from .result import LateResult
from .settings import MetaEmbedSettings
from .tokens import TrainedTokens, first_tokens

_LOG = logging.getLogger(__name__)


def train_metaembed(settings: MetaEmbedSettings) -> LateResult:
    """Train MetaEmbed on an embedding checkpoint, and write it as one that ``MetaEmbed`` loads.

    A checkpoint that has meta tokens already is trained on from them. Called again with the same
    settings after it was killed, a run goes on from its last checkpoint, with the losses it would
    have had. Raises as ``open_run`` does, NonFiniteScoreError where a loss is no number any more,
    and MissingDependencyError without peft.
    """
    require_peft()
    opened = open_run(
        settings, "metaembed", lambda model: {"tokens": first_tokens(model, settings.seed).digest}
    )
    with repeatable(opened.model.device):
        surveys = [_survey(opened, name, part) for name, part in opened.parts]
        questions = usable(opened.data.examples, surveys[0].failed)
        plan = lessons_of(settings, questions)
        run = _Run(settings, opened)
        held_out = None
        if opened.held_out is not None:
            asked = questions_of(opened.held_out.examples, surveys[1].failed)
            held_out = MetaEmbedHeldOut(opened.held_out, asked, run.encoding())
        loss, best = run.course.run(
            len(plan),
            functools.partial(run.records, plan),
            None if held_out is None else functools.partial(run.look, held_out),
        )
        run.course.load_best()
        run.export(best)
    skipped = surveys[0].skipped(opened.data.examples)
    log = opened.folder.path / "log.jsonl"
    return LateResult(opened.folder.model, len(plan), loss, best, log, skipped)


def _survey(opened: Opened, name: str, part: Backbone) -> Survey:
    """What can be read; lengths are not needed here."""

    def look() -> Survey:
        survey, inputs = Survey(), inputs_of(part.examples)
        with Progress("looking at the data", len(inputs), opened.model.progress) as bar:
            for writing in part.written(inputs):
                if writing.error is not None:
                    survey.failed[writing.item.content] = str(writing.error)
                bar.advance()
        return survey

    file = opened.folder.path / f"survey-{name}.json"
    return kept_survey(part.examples, opened.model.identity, file, look)


@dataclass(frozen=True, eq=False)
class _Step:
    """Lessons with their prompts; no contest where none could be read."""

    contest: Contest | None
    segments: dict[Input, Segment]


class _Run:
    """The steps."""

    def __init__(self, settings: MetaEmbedSettings, opened: Opened) -> None:
        self._settings, self._opened = settings, opened
        model = opened.model
        first = first_tokens(model, settings.seed)
        self._trained = TrainedTokens(model.network, first, settings)
        _LOG.info("%d numbers are trained", self._trained.count)
        statistics = model.checkpoint.pixel_mean, model.checkpoint.pixel_std
        namespace = Namespace({"model": model.identity})
        features = FrozenFeatures(
            model.network, statistics, namespace, int(settings.features_bytes)
        )
        self._packer = Packer(model.network, features, Meter())
        self._optimizer = Optimizer(self._trained.masters.tensors, settings)
        self.course = Course(
            self._trained.masters, self._optimizer, opened.folder, settings, RetrievalLook
        )

    def encoding(self, recompute: bool = False) -> Encoding:
        """With what is trained."""
        forward = StateForward(self._packer, recompute)
        return Encoding(self._trained, forward, self._settings.batch_tokens)

    def records(self, plan: Sequence[Sequence[Lesson]], first: int) -> Records:
        """One step each; see Course."""
        steps = written_ahead(plan[first:], self._write)
        for number, step in enumerate(steps, first):
            rate = rate_at(number, len(plan), self._settings)
            yield self._one(number, step, rate)

    def look(self, held_out: MetaEmbedHeldOut, step: int) -> RetrievalLook:
        """At what is held out."""
        self._trained.training(False)
        return held_out.look(step)

    def export(self, best: RetrievalLook | None) -> None:
        """The merged checkpoint with the tokens beside."""
        settings, out = self._settings, self._opened.folder.model
        record = {
            "settings": settings.public(),
            "dtype": settings.out_dtype,
            "best": None if best is None else best.facts(),
        }
        if not is_written(out, record):
            write_merged(
                self._opened.model.checkpoint.path,
                out,
                self._trained.changes(),
                None,
                dtype=settings.out_dtype,
                record=record,
                beside=self._trained.write,
                progress=settings.progress,
            )

    def _write(self, lessons: Sequence[Lesson]) -> _Step:
        wanted = [lesson.question.query for lesson in lessons]
        for lesson in lessons:
            wanted += [Input(at, False) for at in (lesson.positive, *lesson.negatives)]
        segments = self._opened.data.segments(dict.fromkeys(wanted))
        contest = Contest.of(lessons, segments)
        if contest is None:
            return _Step(None, {})
        listed = dict.fromkeys((*contest.queries, *contest.documents))
        return _Step(contest, {item: segments[item] for item in listed})

    def _one(self, number: int, step: _Step, rate: float) -> dict[str, float]:
        """One step. What is logged of it."""
        contest, loss, queries = step.contest, math.nan, 0
        self._trained.training(True)
        if contest is not None:
            queries = len(contest.queries)
            encoding = self.encoding(self._settings.recompute)
            loss_of = functools.partial(self._loss, contest)
            seeds = (self._settings.seed, number)
            loss = encoding.send_back(step.segments, loss_of, seeds) / queries
            require_finite(loss, number)
        norm = self._optimizer.step(queries, rate)
        self._trained.masters.publish()
        documents = 0 if contest is None else len(contest.documents)
        counts = {"queries": queries, "documents": documents}
        return {"step": number + 1, "loss": loss, "rate": rate, "norm": norm, **counts}

    def _loss(self, contest: Contest, vectors: dict[Input, Tensor]) -> Tensor:
        """Summed over the queries, averaged over the groups."""
        queries = torch.stack([vectors[item] for item in contest.queries])
        documents = torch.stack([vectors[item] for item in contest.documents])
        losses = [
            contest.loss(scores, self._settings.temperature)
            for scores in group_scores(queries, documents)
        ]
        return torch.stack(losses).mean()
