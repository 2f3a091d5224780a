"""How sure a mean over queries is: the percentile bootstrap over queries (Efron 1979)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minireranker.errors import ConfigurationError

__all__ = ["Interval", "bootstrap"]

_DRAWN = 2**20
"""Numbers drawn at a time, 8 MiB of indices: bounds memory for any number of queries."""


@dataclass(frozen=True)
class Interval:
    """A mean, and between which bounds it lies for most samples of queries."""

    mean: float
    low: float
    high: float


def bootstrap(
    values: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = 2_000,
    confidence: float = 0.95,
) -> Interval:
    """The mean of one number a query, and its bootstrap interval.

    The same seed draws the same queries, so the interval of differences of two systems is a paired
    one. NaN (a query for which there is no number) is left out; all NaN where nothing is left.
    Raises ConfigurationError for ``resamples`` below 1 and a confidence not between 0 and 1.
    """
    if resamples < 1:
        raise ConfigurationError(f"resamples = {resamples!r}: allowed is 1 or more")
    if not 0.0 < confidence < 1.0:
        raise ConfigurationError(f"confidence = {confidence!r}: allowed is above 0 and below 1")
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return Interval(math.nan, math.nan, math.nan)
    means = _means(known, resamples, np.random.default_rng(seed))
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(means, (tail, 100.0 - tail))
    return Interval(float(known.mean()), float(low), float(high))


def _means(
    values: NDArray[np.float64], resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Means of samples drawn with repeats, [resamples]."""
    count = len(values)
    rows = max(_DRAWN // count, 1)
    drawn = (min(rows, resamples - at) for at in range(0, resamples, rows))
    return np.concatenate(
        [values[random.integers(0, count, (size, count))].mean(axis=1) for size in drawn]
    )
