"""From measurements to a choice: exit first, then the band in front of it, then what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from minireranker.engine.prefix import Band

from .analysis import Analysis
from .bands import Bands
from .choice import Choice, choose_exit, choose_high, choose_keep, choose_low
from .curves import Curve, Interval
from .measuring import Measuring
from .quality import Floats
from .result import Blocking
from .sample import Question
from .settings import KEEP_RATIOS

_STOPPED = "stopped by hand before the pathways were blocked"


@dataclass(eq=False)
class Proposal:
    """A choice while it is made, with the curves it rests on."""

    measuring: Measuring
    whole: Analysis
    part: Analysis | None
    """The first of its questions, those with blocked passes; None: there are none."""
    questions: Sequence[Question]
    """Of ``part``."""
    opened: Mapping[int, Floats]
    """Scores [exits, pairs] of ``part`` by the layer that sight begins at."""
    closed: Mapping[int, Floats]
    """By the layer that it ends at."""
    exit_layer: int = 0
    band: tuple[int, int] = (0, 0)
    keep_ratio: float = 1.0
    is_supported: bool = True
    reasons: list[str] = field(default_factory=list)
    blocking: list[Blocking] = field(default_factory=list)
    keep: dict[str, Curve] = field(default_factory=dict)
    checked: dict[str, Interval] = field(default_factory=dict)
    """What the choice as a whole gives, on ``part``."""

    @classmethod
    def measured(
        cls, measuring: Measuring, whole: Analysis, questions: Sequence[Question]
    ) -> Proposal:
        """Run the blocked passes over the first of ``questions``."""
        bands = Bands(whole.layers, measuring.settings.step)
        few = _few(questions, measuring.settings.blocked_pairs)
        passes = measuring.blocked(few, bands.all)
        if not passes.questions:
            return cls(measuring, whole, None, (), {}, {})
        opened, closed = (
            {at: passes.scores(band) for at, band in runs.items()}
            for runs in (bands.opened, bands.closed)
        )
        part = whole.head(passes.questions)
        return cls(measuring, whole, part, few[: passes.questions], opened, closed)

    def choose(self) -> Choice:
        """Every number, with its reason."""
        settings = self.measuring.settings
        self.exit_layer, objection = self.whole.layers, self.whole.objection()
        self.is_supported = objection is None
        if objection is None:
            losses = self.whole.exit_losses()
            self.exit_layer, reason = choose_exit(losses, self.whole.layers, settings)
            self.reasons.append(reason)
        else:
            self.reasons.append(f"dense, as no choice can be made: {objection}")
        self.band = (0, self.exit_layer)
        self._block()
        self._prune()
        return Choice(
            self.exit_layer, self.band, self.keep_ratio, self.is_supported, tuple(self.reasons)
        )

    def _block(self) -> None:
        if self.part is None:
            self.reasons.append(f"the band is every layer: {_STOPPED}")
            return
        exits = dict.fromkeys((self.exit_layer, self.whole.layers))
        self.blocking = [self.part.blocking(self.opened, self.closed, at) for at in exits]
        if not self.is_supported:
            return
        least = self.measuring.settings.min_queries
        if self.part.judged.queries < least:
            self.reasons.append(
                f"the band is every layer: {self.part.judged.queries} queries were run with a "
                f"blocked pathway, fewer than {least} (blocked_pairs)"
            )
            return
        self._choose_band(self.part, self.blocking[0])

    def _choose_band(self, part: Analysis, blocking: Blocking) -> None:
        settings = self.measuring.settings
        low, why_low = choose_low(_points(blocking.opened), self.exit_layer, settings)
        high, why_high = choose_high(_points(blocking.closed), low, self.exit_layer, settings)
        if high < self.exit_layer:
            scores = self._run(Band(low, high, self.exit_layer))
            if scores is None:
                high, why_high = self.exit_layer, f"the band ends at the exit: {_STOPPED}"
            else:
                found = part.agreement(scores, self.exit_layer)["pearson"]
                if found.low < settings.min_correlation:
                    why_high = (
                        f"the band ends at the exit {self.exit_layer}: both ends moved together "
                        f"correlate by {found.value:.3f}, at least {found.low:.3f}"
                    )
                    high = self.exit_layer
        self.band = (low, high)
        self.reasons += [why_low, why_high]

    def _prune(self) -> None:
        """The keep ratio, and the choice as a whole."""
        if self.part is None:
            return
        weighed = self.measuring.weighed(self.questions)
        losses: dict[float, Interval] = {}
        rows = {1.0: self.part.comparison(self.part.scores[self.exit_layer - 1], self.exit_layer)}
        for ratio in KEEP_RATIOS if weighed else ():
            band = Band(0, self.exit_layer, self.exit_layer)
            scores = self._run(band, weighed, ratio)
            if scores is None:
                break
            losses[ratio] = self.part.loss(scores, self.part.scores[self.exit_layer - 1])
            rows[ratio] = self.part.comparison(scores, self.exit_layer)
        if losses:
            names = rows[1.0]
            self.keep = {n: Curve.of({at: row[n] for at, row in rows.items()}) for n in names}
        if losses and self.is_supported:
            self.keep_ratio, reason = choose_keep(losses, self.measuring.settings)
            self.reasons.append(reason)
        self._check(self.part, weighed)

    def _check(self, part: Analysis, weighed: Sequence[Question]) -> None:
        band = Band(*self.band, self.exit_layer)
        scores = self._run(band, weighed, self.keep_ratio)
        if scores is not None:
            self.checked = {**part.metrics(scores), **part.agreement(scores, part.layers)}

    def _run(
        self, band: Band, weighed: Sequence[Question] = (), keep_ratio: float = 1.0
    ) -> Floats | None:
        """Scores [pairs] of ``part`` at a band's exit; None: stopped by hand."""
        questions = weighed or self.questions
        passes = self.measuring.blocked(questions, [band], keep_ratio)
        return passes.scores(band)[-1] if passes.questions == len(questions) else None


def _points(curves: Mapping[str, Curve]) -> dict[int, Interval]:
    curve = curves["pearson"]
    return {int(at): point for at, point in zip(curve.at, curve.points, strict=True)}


def _few(questions: Sequence[Question], pairs: int) -> list[Question]:
    """The first of them, at least one, within a number of pairs."""
    found: list[Question] = []
    for question in questions:
        pairs -= len(question.documents)
        if found and pairs < 0:
            break
        found.append(question)
    return found
