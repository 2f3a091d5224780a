"""The parts of a result that are put together, not measured."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minireranker.bench.machine import describe_machine

from .bench import LatencyBench
from .plan import Plan
from .result import VERSION
from .running_peers import Place
from .statistics import PERCENTILE_METHOD
from .turns import Turns

if TYPE_CHECKING:
    from minireranker import Reranker

__all__ = ["model_row", "pair_seconds", "skeleton", "turns_row"]


def skeleton(bench: LatencyBench, plan: Plan, place: Place) -> dict[str, Any]:
    """A result in which nothing was measured yet."""
    load = plan.load
    return {
        "version": VERSION,
        "finished": False,
        "stopped": None,
        "machine": describe_machine(),
        "device": {"kind": place.device, "dtype": place.dtype, "threads": place.threads},
        "workload": {
            **dataclasses.asdict(load),
            "candidates": load.listed,
            "visual_tokens": load.visual_tokens,
            "pairs": load.pairs,
        },
        "settings": {
            "profile": bench.profile,
            "cache": bench.state,
            "streams": bench.streams,
            "repeats": plan.repeats,
            "rounds": plan.rounds,
            "sample": plan.sample,
            "units": plan.units,
            "percentiles": PERCENTILE_METHOD,
            "said": list(plan.said),
        },
        **dict.fromkeys(("model", "gate", "ceilings", "turns")),
        "targets": [],
        "peers": [],
    }


def model_row(reranker: Reranker, name: str) -> dict[str, Any]:
    """What was loaded, and who says which visual tokens are kept."""
    profile = reranker.profile
    importances = "an embedder's"
    if profile.keep_ratio == 1.0:
        importances = "not needed: every visual token is kept"
    elif reranker.embedder is None:
        importances = "random: there is no embedder"
    return {
        "name": name,
        "described": reranker.describe().partition(": ")[2],  # without the path
        "precision": reranker.state.model.precision,
        "profile": profile.name,
        "exit_layer": profile.exit_layer,
        "band": list(profile.band or ()),
        "keep_ratio": profile.keep_ratio,
        "importances": importances,
    }


def turns_row(turns: Turns, plan: Plan) -> dict[str, Any] | None:
    """Ours in the turns; None before the first."""
    if not turns.whole:
        return None
    return {
        "units": turns.turn_units,
        "seconds": turns.ours,
        "whole_seconds": turns.whole,
        "seconds_a_pair": statistics.median(turns.ours) / plan.sample,
        "whole_seconds_a_pair": statistics.median(turns.whole) / plan.load.listed,
    }


def pair_seconds(
    turns: Mapping[str, Any] | None, runs: Sequence[Mapping[str, Any]]
) -> float | None:
    """Of ours over a whole list: from the turns, else one query after the other, else any run."""
    if turns is not None:
        return float(turns["whole_seconds_a_pair"])
    chosen = [run for run in runs if run["mode"] == "single"] or runs
    return chosen[0]["seconds"] / chosen[0]["pairs"] if chosen else None
