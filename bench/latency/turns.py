"""Ours and every peer on the same pairs, in turns, so that what drifts on a machine hits all alike.

A turn is one unit of work (a query and a sample of its candidates) by each contender; who begins
changes from turn to turn. A ratio is of one turn: a contender's seconds over ours. Ours is timed
on the sample, and on the whole list, which no peer could be asked in reasonable time: that second
ratio is of seconds a pair, scaled. A peer's seconds are its own clock's, from a request read to its
scores known: what passes between the processes is not held against it.

Each unit is scored once before any timing: that says whether scores agree, and leaves a peer that
keeps prefixes with warm ones. Then everybody works once for nothing: memory is touched, code paths
are known. Before each piece of work there is a pause, for the threads of the one before to stop
spinning; and what takes less than a tenth of a second, or little beside the slowest, is done
several times, of which the median counts, for one call of it says more about the scheduler than
about who works. These calls are spread over the turn: a machine that is slow for a second is slow
for one of them, not for all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from minireranker.bench.comparison import Say

from .contenders import Contender
from .drawing import Material
from .ran import Ran
from .reference import Unit
from .running_peers import Place, RunningPeers
from .target import Target

if TYPE_CHECKING:
    from minireranker.bench.peers import PeerSpec

__all__ = ["ASKED_BY_PICTURE", "COLD", "HOW", "Turns"]

HOW = (
    "in turns: who begins changes from turn to turn, after one turn that is not timed; what takes "
    "under 0.1 s, or a fifteenth of the slowest's time, is done three or five times between the "
    "others, and the median counts; a ratio is the median of the turns', in brackets their least "
    "and largest"
)
"""For readers of the figures."""
COLD = (
    "in turns ours reads every candidate anew (--cache cold), and a peer that keeps prefixes has "
    "them: what it takes without is its first time, and that is what to hold beside ours"
)
"""The same, of a cold cache."""
ASKED_BY_PICTURE = (
    "in turns ours reads the picture that asks anew, as that of a new query, and a peer that keeps "
    "prefixes has it from an earlier turn: what it takes without is its first time"
)
"""The same, of queries that are images."""
_PAUSE = 0.01
"""Seconds: OpenMP's threads spin for one to five thousandths after their work."""
_CALLS = ((0.1, 1), (0.03, 3), (0.0, 5))
"""Calls a turn of what takes so many seconds or more."""
_SHARES = ((1 / 15, 1), (1 / 50, 3), (0.0, 5))
"""The same by its share of the slowest's first time."""
_WARM = 1.0
"""Seconds of work from which a first time changes nothing that could be seen."""
_OURS, _WHOLE = "ours", "ours, whole list"


class Turns:
    """The interleaved measurement. Interrupted, it holds what was finished."""

    def __init__(
        self,
        target: Target,
        material: Material,
        units: Sequence[Unit],
        cache: str,
        say: Say,
    ) -> None:
        """``cache``: where ours finds its candidates, see CACHES."""
        self._target, self._material, self._units = target, material, units
        self.cache, self._say = cache, say
        self._peers = RunningPeers(material, say)
        self._calls: dict[str, int] = {}
        self.ran: dict[str, Ran] = {}
        self.ours: list[float] = []
        """Seconds of each turn, on the sampled pairs."""
        self.whole: list[float] = []
        """The same on all candidates."""
        self.turn_units: list[int] = []
        """Which unit each turn was of."""

    def run(
        self,
        contenders: Sequence[Contender],
        specs: dict[str, PeerSpec],
        place: Place,
        repeats: int,
    ) -> None:
        """Start the peers, have each score every unit once, then time ``repeats`` rounds."""
        self.ran = {one.name: Ran(one, failure=one.absence) for one in contenders}
        with ExitStack() as stack:
            names = dict.fromkeys(ran.contender.peer for ran in self._able())
            self._peers.start(stack, [specs[name] for name in names], place, self._able())
            for ran in self._able():
                self._first(ran)
            if not self._able():
                return
            self._warm_up()
            for number in range(repeats):
                self._say(f"in turns, round {number + 1} of {repeats}")
                for at in range(len(self._units)):
                    self._turn(at)

    def _able(self) -> list[Ran]:
        return [ran for ran in self.ran.values() if ran.failure is None]

    def _first(self, ran: Ran) -> None:
        """Every unit once: its scores, and what that costs when nothing is kept."""
        self._say(f"{ran.contender.name}: scoring {len(self._units)} units, to compare")
        for unit in self._units:
            answer = self._peers.ask(ran, unit)
            if answer is None:
                return
            ran.scores.append(list(answer.scores))
            ran.kind = answer.kind
            ran.cold.append(ran.take(answer))

    def _warm_up(self) -> None:
        """Everybody once, untimed; how long that takes says how many calls a turn has."""
        self._say("in turns, once untimed")
        slowest = max(ran.cold[0] for ran in self._able())
        for name in self._names():
            ran = self.ran.get(name)
            if ran is not None and not ran.contender.keeps_prefixes and min(ran.cold) >= _WARM:
                continue
            seconds = self._once(name, self._units[0])
            if seconds is not None:
                self._calls[name] = max(_by(_CALLS, seconds), _by(_SHARES, seconds / slowest))

    def _turn(self, at: int) -> None:
        """What is interrupted midway is no turn."""
        names, unit = self._names(), self._units[at]
        first = len(self.ours) % len(names)
        found = self._seconds(names[first:] + names[:first], unit)
        ours, whole = found[_OURS], found[_WHOLE]
        listed = len(self._material.candidates[unit.query])
        self.ours.append(ours)
        self.whole.append(whole)
        self.turn_units.append(at)
        for ran in self._able():
            seconds = found[ran.contender.name]
            ran.seconds.append(seconds)
            ran.ratios.append(seconds / ours)
            ran.scaled_ratios.append((seconds / unit.count) / (whole / listed))

    def _names(self) -> list[str]:
        return [_OURS, _WHOLE, *(ran.contender.name for ran in self._able())]

    def _seconds(self, names: Sequence[str], unit: Unit) -> dict[str, float]:
        """Of each contender's work, the median of its calls; without those that failed."""
        found: dict[str, list[float]] = {name: [] for name in names}
        for name in _spread(names, self._calls):
            if name in self.ran and self.ran[name].failure is not None:
                continue
            time.sleep(_PAUSE)
            seconds = self._once(name, unit)
            if seconds is not None:
                found[name].append(seconds)
        return {name: statistics.median(each) for name, each in found.items() if each}

    def _once(self, name: str, unit: Unit) -> float | None:
        if name in (_OURS, _WHOLE):
            return self._ours(unit, unit.count if name == _OURS else None)
        ran = self.ran[name]
        answer = self._peers.ask(ran, unit)
        if answer is None:
            return None
        ran.count_prefixes(answer)
        return ran.take(answer)

    def _ours(self, unit: Unit, count: int | None) -> float:
        names = self._material.names(unit.query, count)
        self._target.settle(self.cache)
        start = time.perf_counter()
        self._target.rank(self._material.queries[unit.query], names)
        return time.perf_counter() - start


def _spread(names: Sequence[str], calls: dict[str, int]) -> list[str]:
    """Each name as often as it is to be called, its calls with others' between them."""
    passes = max(calls.get(name, 1) for name in names)
    at: list[list[str]] = [[] for _ in range(passes)]
    for number, name in enumerate(names):
        many = calls.get(name, 1)
        for call in range(many):
            at[(call * passes // many + number) % passes].append(name)
    return [name for one in at for name in one]


def _by(table: Sequence[tuple[float, int]], value: float) -> int:
    return next(calls for least, calls in table if value >= least)
