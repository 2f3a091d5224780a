"""Means of what steps report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def mean_of(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each figure, over the steps that have it."""
    names = list(dict.fromkeys(name for one in figures for name in one))
    had = {name: [one[name] for one in figures if name in one] for name in names}
    return {name: sum(values) / len(values) for name, values in had.items()}
