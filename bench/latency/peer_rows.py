"""What each contender did, as the result file has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .agreement import References
from .ran import Ran
from .reference import Unit
from .statistics import spread
from .turns import Turns

__all__ = ["rows"]


def rows(turns: Turns, references: References, units: Sequence[Unit]) -> list[dict[str, Any]]:
    """Each contender as the result file has it."""
    return [_row(ran, references, units, turns.turn_units) for ran in turns.ran.values()]


def _row(
    ran: Ran, references: References, units: Sequence[Unit], turn_units: Sequence[int]
) -> dict[str, Any]:
    profile = ran.contender.profile
    compared = references.agreement(profile, ran.scores, ran.kind) if ran.scores else None
    counts = [units[at].count for at in turn_units]
    each = [seconds / count for seconds, count in zip(ran.seconds, counts, strict=False)]
    cold = [seconds / unit.count for seconds, unit in zip(ran.cold, units, strict=False)]
    return {
        "name": ran.contender.name,
        "peer": ran.contender.peer,
        "method": ran.contender.method,
        "order": profile,
        "status": _status(ran),
        "reason": ran.failure,
        "versions": ran.loaded.get("versions", {}),
        "interpreter": ran.interpreter,
        "load_seconds": ran.loaded.get("load_s"),
        "agreement": compared,
        "seconds_a_pair": each,
        "cold_seconds_a_pair": cold,
        "ratio": spread(ran.ratios) if ran.ratios else None,
        "scaled_ratio": spread(ran.scaled_ratios) if ran.scaled_ratios else None,
        "peak_memory": ran.peak_memory,
        "prefixes": ran.prefixes,
    }


def _status(ran: Ran) -> str:
    if ran.contender.absence is not None:
        return "absent"
    if ran.failure is not None:
        return "failed"
    return "measured" if ran.ratios else "not begun"
