"""How far scores may be from those of the full-sequence model.

Ours has to agree in float32 with the full sequence under the method's masks, within 1e-4 of the
scores' spread. A peer has to agree with the unmodified model in the order it writes pairs in: its
error against float32 may be twice the unmodified model's own in the dtype that both compute in,
plus one rounding; in float32 itself, where that error is nothing, 1e-4 of the spread.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from minireranker.engine.results import probability

__all__ = ["TOLERANCE", "References", "flat", "largest_gap", "score_spread"]

TOLERANCE = 1e-4
"""Of the spread of a query's scores: the largest difference to the full sequence in float32."""


@dataclass
class References:
    """Scores of all units, one list a unit, by the full-sequence model."""

    reduced: list[list[float]]
    """Under our profile's masks, in float32."""
    exact: dict[str, list[list[float]]] = field(default_factory=dict)
    """Of the unmodified model in float32, by the profile whose order and template it has."""
    own: dict[str, list[list[float]]] = field(default_factory=dict)
    """The same in the dtype that is measured."""
    rounding: float = 0.0
    """Relative: of that dtype."""

    def agreement(
        self, profile: str, found: Sequence[Sequence[float]], kind: str = "logit"
    ) -> dict[str, Any]:
        """How far a peer's scores of the first units are from the unmodified model's.

        ``kind``: logit, or probability, the sigmoid of that; all figures are of the kind. Returns
        ``difference``, ``tolerance``, ``agrees``, the unmodified model's own ``reference_error``.
        """
        exact, own = (flat(rows[profile][: len(found)]) for rows in (self.exact, self.own))
        return self._held(exact, own, flat(found), kind)

    def target_agreement(
        self, own: Sequence[Sequence[float]], found: Sequence[Sequence[float]]
    ) -> dict[str, Any]:
        """The same of a target elsewhere, whose scores have to be ours: ``own``, in its dtype."""
        return self._held(flat(self.reduced), flat(own), flat(found), "logit")

    def _held(
        self, exact: list[float], own: list[float], found: list[float], kind: str
    ) -> dict[str, Any]:
        rounding = self.rounding * max(map(abs, exact))
        if kind == "probability":
            exact, own = ([probability(score) for score in scores] for scores in (exact, own))
            rounding = self.rounding
        error = largest_gap(own, exact)
        tolerance = max(2 * error + rounding, TOLERANCE * score_spread(exact))
        difference = largest_gap(found, exact)
        return {
            "difference": difference if math.isfinite(difference) else None,
            "tolerance": tolerance,
            "agrees": difference <= tolerance,
            "reference_error": error,
            "pairs": len(exact),
        }


def flat(rows: Sequence[Sequence[float]]) -> list[float]:
    """All units' scores, one after the other."""
    return [float(score) for row in rows for score in row]


def largest_gap(found: Sequence[float], exact: Sequence[float]) -> float:
    """Not a number where one of them is none: that agrees with nothing."""
    gaps = [abs(a - b) for a, b in zip(found, exact, strict=True)]
    return max(gaps) if all(gap == gap for gap in gaps) else float("nan")


def score_spread(scores: Sequence[float]) -> float:
    """Standard deviation."""
    return statistics.pstdev(scores)
