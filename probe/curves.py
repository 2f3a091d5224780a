"""Numbers with the band that the bootstrap puts around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .quality import Floats


@dataclass(frozen=True)
class Interval:
    """An estimate on the sample, and the central range of its resamples."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, found: Floats, confidence: float) -> Interval:
        """``found``: the estimate, then its value in each resample."""
        outside = (1 - confidence) / 2
        low, high = np.quantile(found[1:], [outside, 1 - outside])
        return cls(float(found[0]), float(low), float(high))


@dataclass(frozen=True)
class Curve:
    """Intervals over layers, exits or ratios."""

    at: tuple[float, ...]
    points: tuple[Interval, ...]

    @classmethod
    def of(cls, points: Mapping[float, Interval]) -> Curve:
        """In ascending order of where they are."""
        places = sorted(points)
        return cls(tuple(places), tuple(points[at] for at in places))

    def __getitem__(self, at: float) -> Interval:
        """The point there."""
        return self.points[self.at.index(at)]

    def columns(self) -> dict[str, list[float]]:
        """As it stands in the JSON file."""
        names = ("value", "low", "high")
        rows = {name: [round(getattr(p, name), 6) for p in self.points] for name in names}
        return {"at": list(self.at), **rows}
