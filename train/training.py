"""``train``: from settings to a merged checkpoint, and on from wherever an earlier call was."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from minireranker.engine.reranker import Reranker
from minireranker.engine.state import EngineState
from minireranker.errors import ConfigurationError
from minireranker.models.checkpoint import Checkpoint
from minireranker.relevance.dataset import RELEVANT

from .examples import Examples, read_examples
from .export import is_written, write_merged
from .held_out import Evaluation, HeldOut
from .loop import Loop
from .lora import require_peft
from .plan import Bound, Group, batches, grouped, steps
from .processes import Processes
from .repeatable import repeatable
from .run_folder import STATE, RunFolder
from .settings import TrainSettings
from .survey import Skipped, Survey, take_survey
from .teacher import teacher_scores
from .trained import Trained

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a run came to."""

    model: Path
    """The merged checkpoint; its ``profiles/`` has the profile that was trained for."""
    profile: str
    """That profile's name."""
    steps: int
    loss: float
    """Mean over the pairs of the last step."""
    best: Evaluation | None
    """Of the weights in ``model``; None: nothing was held out, and they are the last."""
    log: Path
    skipped: tuple[Skipped, ...]


def train(settings: TrainSettings) -> TrainResult:
    """Train a reranker in a profile's form, and write it as a checkpoint.

    Called again with the same settings after it was killed, it goes on from its last checkpoint,
    with the losses it would have had. In several processes (``accelerate launch``) each takes its
    part of every step.

    Raises ConfigurationError, InputError and CheckpointError for what cannot be trained, or is in
    the way in ``settings.out``; MissingDependencyError for LoRA without peft, held-out pairs
    without ir-measures, several processes without accelerate.
    """
    if settings.method == "lora":
        require_peft()
    examples = read_examples(settings.data, to_train=True)
    _warn_of_one_answer(examples)
    held_out = read_examples(settings.held_out) if settings.held_out else None
    processes = Processes(settings.device)
    if processes.rank:
        settings = dataclasses.replace(settings, progress=False)
    reranker = Reranker.from_pretrained(
        str(settings.model),
        profile=settings.profile,
        embedder=settings.embedder,
        keep_ratio=settings.keep_ratio,
        device=processes.device(settings.device),
        dtype=settings.dtype,
        fused=False,
        progress=settings.progress,
    )
    state = reranker.state
    if state.model.products is not None:
        raise ConfigurationError(
            f"{settings.dtype} weights cannot be trained; pass dtype='bfloat16' or 'float32'"
        )
    if state.model.dtype is torch.float16:
        raise ConfigurationError("float16 has too little range to train in; pass dtype='bfloat16'")
    folder = _folder(settings, state, examples, held_out, processes)
    with repeatable(state.model.device):
        return _Run(settings, state, examples, held_out, folder, processes)()


def _warn_of_one_answer(examples: Examples) -> None:
    relevant = sum(pair.label >= RELEVANT for pair in examples.pairs)
    if relevant in (0, len(examples.pairs)):
        _LOG.warning(
            "all %d pairs have a label %s: what is learned from them alone is to give one answer "
            "to everything; add others (train mine finds negatives)",
            *(len(examples.pairs), f"of {RELEVANT} or more" if relevant else f"below {RELEVANT}"),
        )


def _folder(
    settings: TrainSettings,
    state: EngineState,
    examples: Examples,
    held_out: Examples | None,
    processes: Processes,
) -> RunFolder:
    identity = settings.identity() | {
        "weights": Checkpoint.open(state.checkpoint).digest(),
        "profile's values": state.profile.digest(),
        "computed in": str(state.model.dtype),
        "pairs": examples.digest(),
        "held-out pairs": None if held_out is None else held_out.digest(),
        "processes": processes.count,
    }
    if processes.rank:
        processes.wait()  # a folder that is half begun looks like one of something else
    folder = RunFolder(Path(settings.out), identity, may_write=processes.rank == 0)
    if not processes.rank:
        processes.wait()
    return folder


@dataclass(eq=False)
class _Run:
    """Everything is read; what is left is to train."""

    settings: TrainSettings
    state: EngineState
    examples: Examples
    held_out: Examples | None
    folder: RunFolder
    processes: Processes

    def __call__(self) -> TrainResult:
        survey = self._survey(self.examples, "survey.json")
        skipped = survey.skipped(self.examples)
        order = self.state.profile.template.order
        groups = grouped(self.examples, survey, order)
        if not groups:
            raise ConfigurationError(
                f"none of {len(self.examples.pairs)} pairs can be read; the first failure is "
                f"{skipped[0].origin}: {skipped[0].reason}"
            )
        measured = self._held_out()
        teacher = self._teacher(groups)
        trained = Trained(self.state, self.settings)
        _LOG.info("%d numbers are trained", trained.count)
        loop = Loop(self.settings, self.state, self.examples, trained, self.folder, self.processes)
        plan = self._steps(groups)
        loss, best = loop.run(plan, teacher, measured)
        self.processes.wait()
        loop.load_best()
        self._export(trained, best)
        log = self.folder.path / "log.jsonl"
        name = self.state.profile.name
        return TrainResult(self.folder.model, name, len(plan), loss, best, log, skipped)

    def _survey(self, examples: Examples, name: str) -> Survey:
        """The first process looks, the others read what it has found."""
        file = self.folder.path / name
        if self.processes.rank:
            self.processes.wait()
        # Once there is a checkpoint, its steps are of the pairs that were found then.
        again = not self.processes.rank and not (self.folder.path / STATE).is_file()
        progress = self.settings.progress
        survey = take_survey(examples, self.state, file, progress, again=again)
        if not self.processes.rank:
            self.processes.wait()
        return survey

    @property
    def _bound(self) -> Bound:
        return Bound(self.settings.batch_pairs, self.settings.batch_tokens)

    def _steps(self, groups: list[Group]) -> list[list[NDArray[np.int64]]]:
        settings = self.settings
        return steps(
            groups,
            self._bound,
            seed=settings.seed,
            epochs=settings.epochs,
            together=settings.accumulate * self.processes.count,
            most=settings.max_steps,
        )

    def _held_out(self) -> HeldOut | None:
        if self.held_out is None:
            return None
        survey = self._survey(self.held_out, "survey-held-out.json")
        share = self.settings.share
        return HeldOut(self.state, self.held_out, survey, self._bound, share=share)

    def _teacher(self, groups: list[Group]) -> NDArray[np.float32] | None:
        if self.settings.teacher is None:
            return None
        plan = batches(groups, self._bound)
        folder = self.folder.path
        return teacher_scores(self.examples, plan, self.settings, folder, self.processes)

    def _export(self, trained: Trained, best: Evaluation | None) -> None:
        record = {
            "settings": self.settings.public(),
            "dtype": self.settings.out_dtype,
            "best": None if best is None else best.facts(),
        }
        if self.processes.rank == 0 and not is_written(self.folder.model, record):
            write_merged(
                self.state.checkpoint,
                self.folder.model,
                trained.changes(),
                self.state.profile,
                dtype=self.settings.out_dtype,
                record=record,
                progress=self.settings.progress,
            )
        self.processes.wait()
