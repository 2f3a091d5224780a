"""What reading documents ahead costs, and after how many queries it has paid for itself."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["QUERIES_A_DOCUMENT", "amortised", "break_even", "with_economy"]

QUERIES_A_DOCUMENT = (1, 3, 10, 30, 100, 300, 1000)


def amortised(index_seconds: float, pair_seconds: float) -> dict[str, float]:
    """Seconds a pair, reading included, by how many queries meet a document in its life."""
    return {str(n): index_seconds / n + pair_seconds for n in QUERIES_A_DOCUMENT}


def break_even(
    index_seconds: float, pair_seconds: float, cold: Sequence[float], warm: Sequence[float]
) -> int | None:
    """Queries a document from which on ours is the cheaper; None: never.

    ``cold``, ``warm``: a peer's seconds a pair when it meets a document first, and later. With n
    queries ours takes ``index + n * pair``, the peer ``cold + (n - 1) * warm``.
    """
    first, later = statistics.median(cold), statistics.median(warm)
    if later <= pair_seconds:
        is_ahead = later == pair_seconds and index_seconds + pair_seconds <= first
        return 1 if is_ahead else None
    return max(1, math.ceil((index_seconds - first + later) / (later - pair_seconds)))


def with_economy(
    rows: Sequence[Mapping[str, Any]], index_seconds: float, pair_seconds: float
) -> list[dict[str, Any]]:
    """Peers' rows with ``break_even_queries``; None too where a row was not timed."""
    return [
        dict(row)
        | {
            "break_even_queries": break_even(
                index_seconds, pair_seconds, row["cold_seconds_a_pair"], row["seconds_a_pair"]
            )
            if row["seconds_a_pair"]
            else None
        }
        for row in rows
    ]
