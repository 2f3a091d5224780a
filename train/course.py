"""The course of a run, whatever it trains: steps, log, looks at what was held out, resumption."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar, cast

from minireranker.engine.progress import Progress
from minireranker.errors import NonFiniteScoreError

from .masters import Masters
from .optimizer import Optimizer
from .run_folder import BEST, STATE, RunFolder


class Look(Protocol):
    """How a model in training does on what was held out: a dataclass of plain values."""

    def beats(self, other: Self | None) -> bool:
        """Whether these weights are the ones to keep."""

    def figures(self) -> dict[str, Any]:
        """What is logged of it."""

    def summary(self) -> str:
        """What the bar says of it."""


class Pace(Protocol):
    """Of a run's settings, what its course goes by."""

    @property
    def save_every(self) -> int:
        """Steps between checkpoints."""

    @property
    def evaluate_every(self) -> int:
        """Steps between looks."""

    @property
    def progress(self) -> bool | None:
        """A bar on stderr; None: only on a terminal."""


_LOG = logging.getLogger(__name__)

Found = TypeVar("Found", bound=Look)
Records: TypeAlias = Generator[dict[str, Any], None, None]


class Course(Generic[Found]):
    """Takes the steps that are left, and keeps what is needed to go on and to choose."""

    def __init__(
        self,
        masters: Masters,
        optimizer: Optimizer,
        folder: RunFolder,
        pace: Pace,
        restore: Callable[..., Found],
    ) -> None:
        """``restore`` makes a look from its fields: its class. ``optimizer`` moves ``masters``."""
        self._masters, self._optimizer = masters, optimizer
        self._folder, self._pace, self._restore = folder, pace, restore
        self._step, self._saved, self._loss = 0, 0, math.nan
        self._best: Found | None = None
        self._last: Found | None = None

    def run(
        self,
        steps: int,
        records: Callable[[int], Records],
        look: Callable[[int], Found] | None,
    ) -> tuple[float, Found | None]:
        """Go on to ``steps``. Returns the last step's loss, and the best look.

        ``records`` is told the first step (from 0) that is not done, and takes one step each time
        it is asked for what is to be logged of it. ``look`` is told the steps done.
        """
        self._resume()
        try:
            with closing(records(self._step)) as taken:
                self._take(steps, taken, look)
        except KeyboardInterrupt:
            _LOG.warning(
                "stopped after step %d of %d; the same run started again goes on from step %d",
                *(self._step, steps, self._saved),
            )
            raise
        return self._loss, self._best

    def load_best(self) -> None:
        """Put the weights of the best look, if there was one, in place."""
        if self._best is not None:
            found = self._folder.load(BEST)
            assert found is not None, "the best is kept where it is found"
            self._masters.load(found["masters"])

    def _take(self, steps: int, taken: Records, look: Callable[[int], Found] | None) -> None:
        with Progress("training", steps, self._pace.progress) as bar:
            bar.advance(self._step)
            while self._step < steps:
                start = time.perf_counter()
                record = next(taken)
                self._step, self._loss = record["step"], record["loss"]
                self._folder.log(record | {"seconds": time.perf_counter() - start})
                self._look_and_save(steps, look)
                bar.advance()
                bar.relabel(self._summary())

    def _look_and_save(self, steps: int, look: Callable[[int], Found] | None) -> None:
        """Measured before it is saved: who takes the run up again does not measure twice."""
        is_last = self._step == steps
        if look is not None and (is_last or self._step % self._pace.evaluate_every == 0):
            self._evaluate(look)
        if is_last or self._step % self._pace.save_every == 0:
            self._save()

    def _evaluate(self, look: Callable[[int], Found]) -> None:
        self._last = look(self._step)
        self._folder.log({"step": self._step, **self._last.figures()})
        if self._last.beats(self._best):
            self._best = self._last
            look_at = dataclasses.asdict(cast("Any", self._last))
            state = {"step": self._step, "look": look_at, "masters": self._masters.detached()}
            self._folder.save(BEST, state)

    def _save(self) -> None:
        best: Any = self._best
        best = None if best is None else dataclasses.asdict(best)
        state = {"step": self._step, "loss": self._loss, "best": best}
        tensors = {"masters": self._masters.detached(), "optimizer": self._optimizer.state()}
        self._folder.save(STATE, state | tensors)
        self._saved = self._step

    def _resume(self) -> None:
        found = self._folder.load(STATE)
        if found is not None:
            self._step, self._loss = found["step"], found["loss"]
            self._saved = self._step
            self._best = self._kept(found["best"])
            self._masters.load(found["masters"])
            self._optimizer.load(found["optimizer"])
        self._folder.cut_log(self._step)

    def _kept(self, known: dict[str, Any] | None) -> Found | None:
        """The look whose weights are kept: a later one than ``known``, where a kill came between
        it and the next checkpoint."""
        found = self._folder.load(BEST, mapped=True)
        known = known if found is None else found.get("look", known)
        return None if known is None else self._restore(**known)

    def _summary(self) -> str:
        text = f"training, loss {self._loss:.4f}"
        return text if self._last is None else f"{text}, held out {self._last.summary()}"


def require_finite(loss: float, step: int) -> None:
    """Raise NonFiniteScoreError for the loss of a step (from 0) that is no number."""
    if not math.isfinite(loss):
        raise NonFiniteScoreError(
            f"the loss of step {step + 1} is {loss}; go on from {STATE} with a "
            "smaller learning rate, in another folder"
        )
