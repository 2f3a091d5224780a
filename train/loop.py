"""The steps of a run: forward, backward, move; log, measure and save in between."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.engine.progress import Progress
from minireranker.engine.state import EngineState
from minireranker.errors import NonFiniteScoreError

from .examples import Examples
from .forward import PairForward
from .held_out import DEPTH, Evaluation, HeldOut
from .loss import pair_losses
from .optimizer import Optimizer, rate_at
from .plan import Numbers
from .processes import Processes
from .reading import BatchReader, Written, labels_of, packer
from .repeatable import seeded
from .run_folder import BEST, STATE, RunFolder
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
        self._trained, self._folder, self._processes = trained, folder, processes
        frozen = None if settings.vision else settings.features_bytes
        self._packer = packer(state, frozen_bytes=frozen)
        self._reader = BatchReader(state, examples, share=settings.share)
        self._optimizer = Optimizer(trained.masters, settings)
        self._device = state.model.device
        self._step, self._loss = 0, math.nan
        self._best: Evaluation | None = None
        self._last: Evaluation | None = None

    def run(
        self,
        plan: Sequence[Sequence[Numbers]],
        teacher: NDArray[np.float32] | None,
        held_out: HeldOut | None,
    ) -> tuple[float, Evaluation | None]:
        """All steps of ``plan`` that are not done. Returns the last one's loss, and the best.

        Raises NonFiniteScoreError where the loss is none any more.
        """
        self._resume()
        with Progress("training", len(plan), self._settings.progress) as bar:
            bar.advance(self._step)
            rest = plan[self._step :]
            mine = [self._mine(batches) for batches in rest]
            written = self._reader.read(numbers for batches in mine for numbers in batches)
            for batches in mine:
                start = time.perf_counter()
                rate = rate_at(self._step, len(plan), self._settings)
                record = self._one([next(written) for _ in batches], teacher, rate)
                self._folder.log(record | {"seconds": time.perf_counter() - start})
                self._look_and_save(len(plan), held_out)
                bar.advance()
                bar.relabel(self._summary())
        return self._loss, self._best

    def _mine(self, batches: Sequence[Numbers]) -> Sequence[Numbers]:
        return batches[self._processes.rank :: self._processes.count]

    def _one(
        self, written: Sequence[Written], teacher: NDArray[np.float32] | None, rate: float
    ) -> dict[str, Any]:
        """One step. What is logged of it."""
        self._trained.training(True)
        sums = np.zeros(3)
        for at, item in enumerate(written):
            if len(item.numbers):
                with seeded(
                    self._device, self._settings.seed, self._step, at, self._processes.rank
                ):
                    loss = self._loss_of(item, teacher)
                    loss.backward()  # type: ignore[no-untyped-call]
                sums += float(loss.detach()), len(item.numbers), item.batch.tokens
        loss_sum, pairs, tokens = self._processes.total(sums, self._device).tolist()
        self._loss = loss_sum / pairs if pairs else math.nan
        if pairs and not math.isfinite(self._loss):
            raise NonFiniteScoreError(
                f"the loss of step {self._step + 1} is {self._loss}; go on from {STATE} with a "
                "smaller learning rate, in another folder"
            )
        self._processes.add_up(self._optimizer.gradients)
        norm = self._optimizer.step(int(pairs), rate)
        self._trained.publish()
        self._step += 1
        counts = {"pairs": int(pairs), "tokens": int(tokens)}
        return {"step": self._step, "loss": self._loss, "rate": rate, "norm": norm, **counts}

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

    def _look_and_save(self, steps: int, held_out: HeldOut | None) -> None:
        """Measured before it is saved: who takes the run up again does not measure twice."""
        is_last, settings = self._step == steps, self._settings
        if held_out is not None and (is_last or self._step % settings.evaluate_every == 0):
            self._evaluate(held_out)
        if is_last or self._step % settings.save_every == 0:
            self._save()

    def _evaluate(self, held_out: HeldOut) -> None:
        self._trained.training(False)
        self._last = held_out.evaluate(self._step, self._forward(), self._processes)
        facts = self._last.facts()
        figures = {"held_out_loss": facts["loss"], f"ndcg@{DEPTH}": facts["ndcg"]}
        self._folder.log({"step": self._step, **figures})
        if self._last.beats(self._best):
            self._best = self._last
            self._folder.save(BEST, {"step": self._step, "masters": self._masters()})

    def _save(self) -> None:
        best = None if self._best is None else dataclasses.asdict(self._best)
        state = {"step": self._step, "loss": self._loss, "best": best}
        tensors = {"masters": self._masters(), "optimizer": self._optimizer.state()}
        self._folder.save(STATE, state | tensors)

    def _masters(self) -> dict[str, Tensor]:
        return {name: master.detach() for name, master in self._trained.masters.items()}

    def _resume(self) -> None:
        found = self._folder.load(STATE)
        if found is not None:
            self._step, self._loss = found["step"], found["loss"]
            self._best = None if found["best"] is None else Evaluation(**found["best"])
            self._trained.load(found["masters"])
            self._optimizer.load(found["optimizer"])
        self._folder.cut_log(self._step)

    def _summary(self) -> str:
        text = f"training, loss {self._loss:.4f}"
        if self._last is not None:
            text += f", held out {self._last.loss:.4f}, nDCG@10 {self._last.ndcg:.4f}"
        return text
