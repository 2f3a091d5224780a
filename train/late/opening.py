"""A run on the retrieval side before anything is computed: its data, model and folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from minireranker.engine.embedding_model import EmbeddingModel, open_model
from minireranker.errors import ConfigurationError
from minireranker.train.examples import Examples, read_examples
from minireranker.train.run_folder import RunFolder

from .backbone import Backbone
from .held_out import require_measures
from .lessons import (
    Lesson,
    Question,
    plan_steps,
    questions_of,
    require_contrast,
    require_lessons,
)
from .settings import LateSettings


@dataclass(frozen=True, eq=False)
class Opened:
    """All that is known before anything is computed."""

    model: EmbeddingModel
    folder: RunFolder
    data: Backbone
    held_out: Backbone | None

    @property
    def parts(self) -> list[tuple[str, Backbone]]:
        """What is trained on and what is held out, with a name for files."""
        held_out = [] if self.held_out is None else [("held-out", self.held_out)]
        return [("data", self.data), *held_out]


def open_run(
    settings: LateSettings, kind: str, identity_of: Callable[[EmbeddingModel], dict[str, Any]]
) -> Opened:
    """Read the data, open the model, begin or take up the run.

    ``identity_of``: what else a run that is taken up again has to have in common.
    Raises ConfigurationError, InputError and CheckpointError for what cannot be trained, or is in
    the way in ``settings.out``; MissingDependencyError for held-out data without ir-measures.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigurationError(
            "the retrieval side is trained in one process: its negatives are those of the whole "
            "step; start it without accelerate launch, with a larger batch_queries"
        )
    if settings.held_out:
        require_measures()
    examples = read_examples(settings.data, to_train=True)
    held_out = read_examples(settings.held_out) if settings.held_out else None
    model = open_model(
        settings.model,
        device=settings.device,
        dtype=settings.dtype,
        limits=None,
        instruction=None,
        backend="auto",
        progress=settings.progress,
    )
    if model.dtype is torch.float16:
        raise ConfigurationError("float16 has too little range to train in; pass dtype='bfloat16'")
    identity = (
        settings.identity()
        | identity_of(model)
        | {
            "kind": kind,
            "weights": model.checkpoint.digest(),
            "computed in": str(model.dtype),
            "pairs": examples.digest(),
            "held-out pairs": None if held_out is None else held_out.digest(),
        }
    )
    folder = RunFolder(Path(settings.out), identity, may_write=True)
    measured = None if held_out is None else Backbone(model, held_out)
    return Opened(model, folder, Backbone(model, examples), measured)


def lessons_of(settings: LateSettings, questions: list[Question]) -> list[list[Lesson]]:
    """The steps of a run; see ``plan_steps``. Raises as ``require_contrast`` does."""
    plan = plan_steps(
        questions,
        seed=settings.seed,
        epochs=settings.epochs,
        together=settings.batch_queries,
        negatives=settings.negatives,
        most=settings.max_steps,
    )
    require_contrast(plan)
    return plan


def usable(examples: Examples, failed: dict[int, str]) -> list[Question]:
    """Questions to learn from. Raises ConfigurationError where there is nothing to learn."""
    questions = questions_of(examples, failed)
    require_lessons(questions, failed)
    return questions
