"""From scores to curves and a choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .agreement import kendall, pearson
from .choice import objection
from .curves import Curve, Interval
from .quality import Floats, Judgements, measured, resamples
from .result import Blocking
from .settings import METRICS, ProbeSettings


@dataclass(frozen=True, eq=False)
class Analysis:
    """Judged pairs and the open model's scores of them."""

    judged: Judgements
    scores: Floats
    """[exits, pairs]: row e with an exit after layer e."""
    settings: ProbeSettings

    def head(self, queries: int) -> Analysis:
        """Of the first queries."""
        judged = self.judged.head(queries)
        return Analysis(judged, self.scores[:, : len(judged.labels)], self.settings)

    @property
    def layers(self) -> int:
        """Of the model."""
        return len(self.scores)

    @cached_property
    def draws(self) -> Floats:
        """[1 + resamples, queries]"""
        return resamples(self.judged.queries, self.settings.resamples, self.settings.seed)

    def metric(self, name: str, scores: Floats) -> Floats:
        """In each draw."""
        return measured(name, self.judged, scores, self.draws)

    def metrics(self, scores: Floats) -> dict[str, Interval]:
        """All of them, of scores [pairs]."""
        return {name: self._interval(self.metric(name, scores)) for name in METRICS}

    def relevance(self) -> dict[str, Curve]:
        """Every metric over exits."""
        rows = [self.metrics(scores) for scores in self.scores]
        return {
            name: Curve.of({at: row[name] for at, row in enumerate(rows, 1)}) for name in METRICS
        }

    def chance(self) -> dict[str, float]:
        """Every metric of scores that are all equal."""
        flat = np.zeros(len(self.judged.labels))
        return {name: float(self.metric(name, flat)[0]) for name in METRICS}

    def objection(self) -> str | None:
        """Why nothing may be chosen; None: it may."""
        name = self.settings.metric
        flat = self.metric(name, np.zeros(len(self.judged.labels)))
        gain = self._interval(self.metric(name, self.scores[-1]) - flat)
        return objection(self.judged.queries, gain, self.settings)

    def loss(self, scores: Floats, against: Floats) -> Interval:
        """The deciding metric of ``scores`` less that of ``against``, on the same draws."""
        name = self.settings.metric
        return self._interval(self.metric(name, scores) - self.metric(name, against))

    def exit_losses(self) -> dict[int, Interval]:
        """By exit, against the last layer."""
        return {at: self.loss(row, self.scores[-1]) for at, row in enumerate(self.scores, 1)}

    def agreement(self, scores: Floats, exit_layer: int) -> dict[str, Interval]:
        """With the open scores at an exit, within queries."""
        open_scores = self.scores[exit_layer - 1]
        return {
            "pearson": self._interval(pearson(self.judged, open_scores, scores, self.draws)),
            "kendall": self._interval(kendall(self.judged, open_scores, scores, self.draws)),
        }

    def blocking(
        self, opened: Mapping[int, Floats], closed: Mapping[int, Floats], exit_layer: int
    ) -> Blocking:
        """``opened``, ``closed``: scores [exits, pairs] by the layer that sight begins or ends at.

        Beyond the exit there is nothing to block: the exit's own point stands for all of it.
        """
        open_scores = self.scores
        starts = {low: run for low, run in opened.items() if low < exit_layer}
        ends = {high: run for high, run in closed.items() if 0 < high < exit_layer}
        blind = opened[self.layers]
        return Blocking(
            exit_layer,
            self._curves({0: open_scores, **starts, exit_layer: blind}, exit_layer),
            self._curves({0: blind, **ends, exit_layer: open_scores}, exit_layer),
        )

    def _curves(self, runs: Mapping[int, Floats], exit_layer: int) -> dict[str, Curve]:
        rows = {at: self.comparison(run[exit_layer - 1], exit_layer) for at, run in runs.items()}
        names = next(iter(rows.values()))
        return {name: Curve.of({at: row[name] for at, row in rows.items()}) for name in names}

    def comparison(self, scores: Floats, exit_layer: int) -> dict[str, Interval]:
        """Agreement with the open scores at an exit, and the deciding metric."""
        name = self.settings.metric
        found = self.agreement(scores, exit_layer)
        return {**found, name: self._interval(self.metric(name, scores))}

    def _interval(self, found: Floats) -> Interval:
        return Interval.of(found, self.settings.confidence)
