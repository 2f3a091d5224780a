"""Steps of one phase of the recipe: a lesson, its gradient, a move; saved, so that it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minireranker.engine.progress import Progress
from minireranker.train.optimizer import Optimizer, rate_at
from minireranker.train.run_folder import STATE, RunFolder
from minireranker.train.settings import TrainSettings

from .figures import mean_of

Lesson = Callable[[int], tuple[Tensor, dict[str, float]]]
"""From a step's number to its loss and figures to log."""

_LOGGED_EVERY = 50
_SAVED_EVERY = 250


@dataclass(frozen=True)
class Phase:
    """How much of one thing is practised."""

    name: str
    steps: int
    rate: float
    """The learning rate, at its highest."""
    scenes: int
    """A step."""
    queries: int = 0
    """A scene."""
    warmup: float = 0.02
    weight_decay: float = 0.02
    seed: int = 0


def practise(
    folder: Path,
    phase: Phase,
    masters: Mapping[str, Tensor],
    lesson: Lesson,
    *,
    progress: bool | None = None,
) -> None:
    """Run the steps of ``phase`` that ``folder`` has not got yet; ``masters`` move in place.

    Raises ConfigurationError for the folder of another phase, NonFiniteScoreError for a gradient
    that is none any more.
    """
    settings = _settings(phase, folder)
    run = RunFolder(folder, _identity(phase), may_write=True)
    optimizer = Optimizer(masters, settings)
    done = _resume(run, masters, optimizer)
    figures: list[dict[str, float]] = []
    start = time.perf_counter()
    with Progress(phase.name, phase.steps, progress) as bar:
        bar.advance(done)
        for step in range(done, phase.steps):
            loss, told = lesson(step)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step(1, rate_at(step, phase.steps, settings))
            figures.append({"loss": float(loss.detach()), **told})
            if (step + 1) % _LOGGED_EVERY == 0 or step + 1 == phase.steps:
                seconds, start = time.perf_counter() - start, time.perf_counter()
                means = mean_of(figures)
                run.log({"step": step + 1, **means, "seconds": seconds})
                bar.relabel(f"{phase.name}: " + ", ".join(f"{k} {v:.3f}" for k, v in means.items()))
                figures = []
            if (step + 1) % _SAVED_EVERY == 0 or step + 1 == phase.steps:
                run.save(STATE, _state(step + 1, masters, optimizer))
            bar.advance()


def _settings(phase: Phase, folder: Path) -> TrainSettings:
    return TrainSettings(
        model="",
        data=("scenes",),
        out=folder,
        method="full",
        vision=True,
        learning_rate=phase.rate,
        warmup=phase.warmup,
        weight_decay=phase.weight_decay,
        seed=phase.seed,
    )


def _identity(phase: Phase) -> dict[str, Any]:
    return dict(vars(phase))


def _state(step: int, masters: Mapping[str, Tensor], optimizer: Optimizer) -> dict[str, Any]:
    kept = {name: master.detach() for name, master in masters.items()}
    return {"step": step, "masters": kept, "optimizer": optimizer.state()}


def _resume(run: RunFolder, masters: Mapping[str, Tensor], optimizer: Optimizer) -> int:
    found = run.load(STATE)
    if found is None:
        run.cut_log(0)
        return 0
    with torch.no_grad():
        for name, master in masters.items():
            master.copy_(found["masters"][name])
    optimizer.load(found["optimizer"])
    run.cut_log(found["step"])
    return int(found["step"])
