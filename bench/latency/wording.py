"""Figures as people read them: in a table, and in a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["ceilings", "pays_from", "seconds", "times", "verdict"]


def seconds(value: float) -> str:
    """Three digits: 1.23 s, 45.6 ms, 789 us."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}" if value < 999.5 * size else f"{value:.0f} s"
    return f"{value * 1e6:.3g} us"


def times(spread: Mapping[str, float] | None) -> str:
    """A ratio and what it lies between: 12.3 x (11.9 to 12.8)."""
    if spread is None:
        return ""
    median, low, high = (f"{spread[name]:.3g}" for name in ("median", "low", "high"))
    return f"{median} x ({low} to {high})"


def verdict(agreement: Mapping[str, Any]) -> str:
    """Whether a peer's scores are the unmodified model's: agree (1.2e-02), disagrees by 3.4."""
    difference = agreement["difference"]
    if difference is None:
        return "no numbers"
    if agreement["agrees"]:
        return f"agree ({difference:.1e})"
    return f"disagrees by {difference:.3g}"


def pays_from(row: Mapping[str, Any]) -> str:
    """How many queries have to meet a document for reading it ahead to pay beside that peer.

    Nothing where that was not asked: from a cold cache nothing is read ahead.
    """
    if "break_even_queries" not in row:
        return ""
    queries = row["break_even_queries"]
    if queries is None:
        return "never"
    return f"{queries:,} queries" if queries != 1 else "1 query"


def ceilings(found: Mapping[str, Any]) -> str:
    """What the machine can do at most, in a sentence."""
    return (
        f"ceilings here, now: {found['flop_per_second'] / 1e9:,.0f} GFLOP/s in a product, "
        f"{found['bytes_per_second'] / 1e9:,.1f} GB/s in a copy"
    )
