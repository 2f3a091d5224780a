"""How long what waits will take, judged by the rounds so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Pace"]

_KEPT = 0.8
"""Of all that is known, from round to round."""
_CAUTION = 4.0
"""Mean deviations on top of what is expected, as TCP waits for an answer (RFC 6298)."""


@dataclass
class _Sums:
    """Of rounds of one kind, older ones counting less, larger ones more."""

    work: float
    seconds: float
    strayed: float
    """Seconds between what was expected of a round and what it took."""


class Pace:
    """Seconds by kind of round and by work, see ``weight.work_of``."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._kinds: dict[str, _Sums] = {}

    def knows(self, kind: str) -> bool:
        """Whether a round of that kind has been seen; of others, nothing takes any time."""
        return kind in self._kinds

    def note(self, kind: str, work: float, seconds: float) -> None:
        """A round, from its deal to its last answer, with the work that came of it."""
        if work <= 0:
            return
        sums = self._kinds.get(kind)
        if sums is None:
            self._kinds[kind] = _Sums(work, seconds, seconds / 2)
            return
        strayed = abs(seconds - work * sums.seconds / sums.work)
        sums.work = _KEPT * sums.work + work
        sums.seconds = _KEPT * sums.seconds + seconds
        sums.strayed = _KEPT * sums.strayed + strayed

    def expected(self, work: Mapping[str, float]) -> float:
        """Seconds of work by kind."""
        return self._seconds(work, 0.0)

    def at_most(self, work: Mapping[str, float]) -> float:
        """The same, unless rounds get slower than they have been."""
        return self._seconds(work, _CAUTION)

    def _seconds(self, work: Mapping[str, float], caution: float) -> float:
        found = 0.0
        for kind, amount in work.items():
            sums = self._kinds.get(kind)
            if sums is not None:
                found += amount * (sums.seconds + caution * sums.strayed) / sums.work
        return found
