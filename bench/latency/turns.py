"""Ours and every peer on the same pairs, in turns, so that what drifts on a machine hits all alike.

A turn is one unit of work (a query and a sample of its candidates) by each contender. A ratio is of
one turn: a contender's seconds over ours. Ours is timed on the sample, and on the whole list, which
no peer could be asked in reasonable time: that second ratio is of seconds a pair, scaled. Each unit
is scored once before any timing: that says whether scores agree, and leaves a peer that keeps
prefixes with warm ones. A peer's seconds are its own clock's, from a request read to its scores
known: what passes between the processes is not held against it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.bench.comparison import Say

from .contenders import Contender
from .drawing import Material
from .reference import Unit
from .target import Target

if TYPE_CHECKING:
    from minireranker.bench.peers import PeerProcess, PeerScores, PeerSpec

__all__ = ["Place", "Ran", "Turns"]


@dataclass(frozen=True)
class Place:
    """What every contender computes with."""

    model: Path
    dtype: str
    """Of weights and arithmetic: float32 or bfloat16."""
    device: str
    threads: int


@dataclass
class Ran:
    """What a contender did; seconds are of whole units."""

    contender: Contender
    scores: list[list[float]] = field(default_factory=list)
    kind: str = "logit"
    cold: list[float] = field(default_factory=list)
    """Of each unit, when it was scored for the first time."""
    seconds: list[float] = field(default_factory=list)
    """One a turn, in the order of the turns."""
    ratios: list[float] = field(default_factory=list)
    """To ours, on the same pairs."""
    scaled_ratios: list[float] = field(default_factory=list)
    """Seconds a pair, to ours over the whole list."""
    peak_memory: int | None = None
    failure: str | None = None
    interpreter: str = "none"
    """Whose: its own environment, this interpreter, or none."""
    loaded: dict[str, Any] = field(default_factory=dict)
    """What the peer said of itself: ``versions``, ``load_s``."""

    prefixes: dict[str, int] | None = None
    """First segments ``computed`` and ``reused`` in the turns; None: the peer does not tell."""

    def count_prefixes(self, answer: PeerScores) -> None:
        """Add what a turn has told."""
        told = {"computed": answer.prefixes_computed, "reused": answer.prefixes_reused}
        if None not in told.values():
            before = self.prefixes or {}
            self.prefixes = {n: before.get(n, 0) + (more or 0) for n, more in told.items()}

    def take(self, answer: PeerScores) -> float:
        """Note the memory; returns the seconds."""
        self.peak_memory = max(self.peak_memory or 0, answer.peak_memory)
        return answer.seconds


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
        self._cache, self._say = cache, say
        self._running: dict[str, PeerProcess] = {}
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
            for name in dict.fromkeys(one.peer for one in contenders if one.absence is None):
                self._start(stack, specs[name], place)
            for ran in self._able():
                self._first(ran)
            if not self._able():
                return
            for number in range(repeats):
                self._say(f"in turns, round {number + 1} of {repeats}")
                for at in range(len(self._units)):
                    self._turn(at)

    def _able(self) -> list[Ran]:
        return [ran for ran in self.ran.values() if ran.failure is None]

    def _start(self, stack: ExitStack, spec: PeerSpec, place: Place) -> None:
        from minireranker.bench.peers import PeerError, PeerProcess

        mine = [ran for ran in self._able() if ran.contender.peer == spec.name]
        self._say(f"{spec.name}: starting it")
        try:
            process = stack.enter_context(PeerProcess(spec, self._say))
            methods = [ran.contender.method for ran in mine]
            told = process.load(place.model, place.dtype, place.device, place.threads, methods)
        except PeerError as error:
            for ran in mine:
                ran.failure = f"failed: {error}"
            return
        self._running[spec.name] = process
        for ran in mine:
            ran.loaded = told
            ran.interpreter = "its own environment" if spec.in_venv else "this interpreter"

    def _first(self, ran: Ran) -> None:
        """Every unit once: its scores, and what that costs when nothing is kept."""
        self._say(f"{ran.contender.name}: scoring {len(self._units)} units, to compare")
        for unit in self._units:
            answer = self._ask(ran, unit)
            if answer is None:
                return
            ran.scores.append(list(answer.scores))
            ran.kind = answer.kind
            ran.cold.append(ran.take(answer))

    def _turn(self, at: int) -> None:
        unit = self._units[at]
        ours = self._ours(unit, unit.count)
        whole = self._ours(unit, None)
        listed = len(self._material.candidates[unit.query])
        self.ours.append(ours)
        self.whole.append(whole)
        self.turn_units.append(at)
        for ran in self._able():
            answer = self._ask(ran, unit)
            if answer is None:
                continue
            seconds = ran.take(answer)
            ran.seconds.append(seconds)
            ran.count_prefixes(answer)
            ran.ratios.append(seconds / ours)
            ran.scaled_ratios.append((seconds / unit.count) / (whole / listed))

    def _ours(self, unit: Unit, count: int | None) -> float:
        names = self._material.names(unit.query, count)
        self._target.settle(self._cache)
        start = time.perf_counter()
        self._target.rank(self._material.queries[unit.query], names)
        return time.perf_counter() - start

    def _ask(self, ran: Ran, unit: Unit) -> PeerScores | None:
        """None where the peer failed; it is out of the following turns, and says why."""
        from minireranker.bench.peers import PeerError

        query = self._material.queries[unit.query].wire()
        documents = [item.wire() for item in self._material.listed(unit.query, unit.count)]
        process = self._running[ran.contender.peer]
        try:
            answer = process.score(ran.contender.method, query, documents, None)
            if len(answer.scores) != len(documents):
                raise PeerError(f"{len(answer.scores)} scores for {len(documents)} documents")
        except PeerError as error:
            ran.failure = f"failed: {error}"
            return None
        return answer
