"""The steps of a run on pairs: forward, backward, move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.engine.state import EngineState

from .course import Course, Records, require_finite
from .examples import Examples
from .forward import PairForward
from .held_out import Evaluation, HeldOut
from .loss import pair_losses
from .optimizer import Optimizer, rate_at
from .plan import Numbers
from .processes import Processes
from .reading import BatchReader, Written, labels_of, packer, require_readable
from .repeatable import seeded
from .run_folder import RunFolder
from .settings import TrainSettings
from .trained import Trained


class Loop:
    """Trains; goes on from the folder's last checkpoint."""

    def __init__(
        self,
        settings: TrainSettings,
        state: EngineState,
        examples: Examples,
        trained: Trained,
        folder: RunFolder,
        processes: Processes,
    ) -> None:
        """``trained`` is of ``state``'s model."""
        self._settings, self._state, self._examples = settings, state, examples
        self._trained, self._processes = trained, processes
        frozen = None if settings.vision else settings.features_bytes
        self._packer = packer(state, frozen_bytes=frozen)
        self._reader = BatchReader(state, examples, share=settings.share)
        self._optimizer = Optimizer(trained.masters, settings)
        self._device = state.model.device
        self._course = Course(trained.kept, self._optimizer, folder, settings, Evaluation)

    def run(
        self,
        plan: Sequence[Sequence[Numbers]],
        teacher: NDArray[np.float32] | None,
        held_out: HeldOut | None,
    ) -> tuple[float, Evaluation | None]:
        """All steps of ``plan`` that are not done. Returns the last one's loss, and the best.

        Raises NonFiniteScoreError where the loss is none any more, InputError where no file of a
        step is to be found any more.
        """
        return self._course.run(
            len(plan),
            lambda first: self._records(plan, first, teacher),
            None if held_out is None else lambda step: self._look(step, held_out),
        )

    def load_best(self) -> None:
        """Put the weights of the best look, if there was one, in place."""
        self._course.load_best()

    def _records(
        self, plan: Sequence[Sequence[Numbers]], first: int, teacher: NDArray[np.float32] | None
    ) -> Records:
        mine = [self._mine(batches) for batches in plan[first:]]
        written = self._reader.read(numbers for batches in mine for numbers in batches)
        for step, batches in enumerate(mine, first):
            rate = rate_at(step, len(plan), self._settings)
            yield self._one(step, [next(written) for _ in batches], teacher, rate)

    def _look(self, step: int, held_out: HeldOut) -> Evaluation:
        self._trained.training(False)
        return held_out.evaluate(step, self._forward(), self._processes)

    def _mine(self, batches: Sequence[Numbers]) -> Sequence[Numbers]:
        return batches[self._processes.rank :: self._processes.count]

    def _one(
        self,
        step: int,
        written: Sequence[Written],
        teacher: NDArray[np.float32] | None,
        rate: float,
    ) -> dict[str, Any]:
        """One step. What is logged of it."""
        self._trained.training(True)
        sums = np.zeros(3)
        for at, item in enumerate(written):
            if len(item.numbers):
                with seeded(self._device, self._settings.seed, step, at, self._processes.rank):
                    lost = self._loss_of(item, teacher)
                    lost.backward()  # type: ignore[no-untyped-call]
                sums += float(lost.detach()), len(item.numbers), item.batch.tokens
        loss_sum, pairs, tokens = self._processes.total(sums, self._device).tolist()
        loss = loss_sum / pairs if pairs else math.nan
        if pairs:
            require_finite(loss, step)
        else:
            require_readable(item.gone for item in written)
        self._processes.add_up(self._optimizer.gradients)
        norm = self._optimizer.step(int(pairs), rate)
        self._trained.publish()
        counts = {"pairs": int(pairs), "tokens": int(tokens)}
        return {"step": step + 1, "loss": loss, "rate": rate, "norm": norm, **counts}

    def _loss_of(self, item: Written, teacher: NDArray[np.float32] | None) -> Tensor:
        """Summed over the pairs of a batch."""
        settings = self._settings
        scores = self._forward(settings.recompute)(item.batch)
        wanted = None
        if teacher is not None:
            wanted = torch.from_numpy(teacher[item.numbers]).to(self._device)
        labels = labels_of(self._examples, item.numbers, self._device)
        distill, temperature = settings.distill, settings.temperature
        return pair_losses(scores, labels, wanted, distill=distill, temperature=temperature).sum()

    def _forward(self, recompute: bool = False) -> PairForward:
        return PairForward(self._trained.model, self._packer, self._state.band, recompute)
