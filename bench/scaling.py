"""How the pass grows: with candidates, with either side's length, with queries on shared documents.

Entries are random numbers in the place of read documents, resident in memory; everything from there
on is the engine's. One number is varied at a time, the others stay at the headline's.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.errors import ConfigurationError

from .comparison import Say
from .machine import describe_machine
from .random_pairs import Point, Workload

if TYPE_CHECKING:
    from minireranker import Reranker

__all__ = ["AXES", "ScalingBench", "points", "run"]

AXES: dict[str, tuple[int, ...]] = {
    "candidates": (10, 30, 100, 300, 1000),
    "suffix": (10, 20, 40, 80, 200),
    "prefix": (64, 160, 330, 1300, 10_000),
    "queries": (1, 3, 10, 30, 100),
}
_SHARED = 10
"""Documents that all queries are asked of."""


@dataclass(frozen=True)
class ScalingBench:
    """What to measure. Raises ConfigurationError for an axis that there is not."""

    model: Path
    """A checkpoint directory."""
    profile: str = "mini"
    dtype: str = "bfloat16"
    axes: tuple[str, ...] = tuple(AXES)
    most: int = 10_000
    """Values of an axis above this are left out."""
    repeats: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Compare the axes."""
        if unknown := sorted(set(self.axes) - set(AXES)):
            raise ConfigurationError(
                f"there is no axis {', '.join(unknown)}; there are {', '.join(AXES)}"
            )


def points(axis: str, most: int) -> dict[int, Point]:
    """The points along an axis, by the number that is varied."""
    base = Point(candidates=_SHARED) if axis == "queries" else Point()
    return {
        value: dataclasses.replace(base, **{axis: value}) for value in AXES[axis] if value <= most
    }


def run(bench: ScalingBench, say: Say = lambda line: None) -> dict[str, Any]:
    """Measure; returns the result as JSON-able data. Raises what ``Reranker`` raises."""
    from minireranker import Reranker

    say(f"loading {bench.model.name}")
    # What is kept of a picture does not matter here: entries have the lengths asked for.
    reranker = Reranker.from_pretrained(
        bench.model, profile=bench.profile, dtype=bench.dtype, keep_ratio=1.0
    )
    found = {axis: _along(reranker, axis, bench, say) for axis in bench.axes}
    return {
        "machine": describe_machine(),
        "workload": dataclasses.asdict(bench)
        | {"model": bench.model.name, "precision": reranker.state.model.precision},
        "axes": found,
        "largest_growth_with_candidates": _growth(found.get("candidates", [])),
    }


def _growth(rows: Sequence[dict[str, Any]]) -> float | None:
    """The most that a pair costs with more candidates, of what it costs with fewer."""
    costs = [row["seconds_a_pair"] for row in rows]
    later = [max(costs[at:]) / cost for at, cost in enumerate(costs)]
    return max(later, default=None)


def _along(reranker: Reranker, axis: str, bench: ScalingBench, say: Say) -> list[dict[str, Any]]:
    """A row a point. Points over documents of one length take turns: drift hits all alike."""
    wanted = points(axis, bench.most)
    if axis != "prefix":
        return _measured(reranker, axis, wanted, bench, say)
    alone = [_measured(reranker, axis, {at: point}, bench, say) for at, point in wanted.items()]
    return [row for rows in alone for row in rows]


def _measured(
    reranker: Reranker, axis: str, wanted: Mapping[int, Point], bench: ScalingBench, say: Say
) -> list[dict[str, Any]]:
    if not wanted:
        return []
    largest = max(wanted.values(), key=lambda point: point.candidates)
    entries = Workload(reranker, largest, bench.seed).entries
    loads = {at: Workload(reranker, point, bench.seed, entries) for at, point in wanted.items()}
    times: dict[int, list[float]] = {at: [] for at in loads}
    for turn in range(bench.repeats + 1):
        for at, load in loads.items():
            say(f"{axis} {at:,}, " + (f"{turn} of {bench.repeats}" if turn else "warming up"))
            start = time.perf_counter()
            load()
            if turn:
                times[at].append(time.perf_counter() - start)
    return [_row(at, wanted[at], load, times[at]) for at, load in loads.items()]


def _row(at: int, point: Point, load: Workload, times: Sequence[float]) -> dict[str, Any]:
    """Seconds of queries' states below the band and of all pairs."""
    return {
        "value": at,
        **dataclasses.asdict(point),
        "candidates": len(load.entries),
        "suffix": len(load.queries[0]),
        "seconds": statistics.median(times),
        "all_seconds": list(times),
        "seconds_a_pair": statistics.median(times) / load.pairs,
    }
