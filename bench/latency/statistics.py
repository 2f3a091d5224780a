"""From samples to figures: percentiles, ratios with their spread, and a bootstrap interval.

A percentile here is the nearest rank: the smallest sample that so many per cent of all samples do
not exceed. It is a time that was really measured; of fewer than a hundred samples the 99th is the
largest.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "PERCENTILE_METHOD",
    "RatioInterval",
    "percentile",
    "ratio_interval",
    "spread",
    "summary",
]

PERCENTILE_METHOD = "nearest rank"
_PERCENTILES = (50, 90, 95, 99)
_FEWEST = 4
"""Samples of each of two lots, of which one is above the other by chance in one of 35 cases."""


def percentile(samples: Sequence[float], percent: float) -> float:
    """The nearest rank of at least one sample, in any order; ``percent``: above 0, up to 100."""
    assert samples, "there is no percentile of nothing"
    return sorted(samples)[math.ceil(percent / 100 * len(samples)) - 1]


def summary(samples: Sequence[float]) -> dict[str, float]:
    """p50, p90, p95, p99 and mean of at least one sample."""
    named = {f"p{percent}": percentile(samples, percent) for percent in _PERCENTILES}
    return named | {"mean": statistics.fmean(samples)}


def spread(ratios: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest of at least one ratio."""
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


@dataclass(frozen=True)
class RatioInterval:
    """A ratio of medians, and between what it lies."""

    ratio: float
    low: float
    high: float


def ratio_interval(
    base: Sequence[float],
    other: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = 4_000,
    confidence: float = 0.95,
) -> RatioInterval:
    """Median of ``other`` over median of ``base``, with a percentile bootstrap interval.

    Both are resampled on their own, with repeats (Efron, 1979): runs of different days are not
    paired. At least one positive sample each; with fewer than four one lot may lie above the other
    by chance alone, and the ratio may be anything.
    """
    import numpy as np

    ratio = statistics.median(other) / statistics.median(base)
    if min(len(base), len(other)) < _FEWEST:
        return RatioInterval(ratio, 0.0, math.inf)
    random, tail = np.random.default_rng(seed), 50 * (1 - confidence)
    medians = []
    for samples in (base, other):
        values = np.asarray(samples, np.float64)
        drawn = random.integers(0, len(values), (resamples, len(values)))
        medians.append(np.median(values[drawn], axis=1))
    low, high = np.percentile(medians[1] / medians[0], (tail, 100 - tail))
    return RatioInterval(ratio, float(low), float(high))
