"""The peers of a run: each in its process, asked unit by unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from minireranker.bench.comparison import Say

from .drawing import Material
from .ran import Ran
from .reference import Unit

if TYPE_CHECKING:
    from minireranker.bench.peers import PeerProcess, PeerScores, PeerSpec

__all__ = ["Place", "RunningPeers"]


@dataclass(frozen=True)
class Place:
    """What every contender computes with."""

    model: Path
    dtype: str
    """Of weights and arithmetic: float32 or bfloat16."""
    device: str
    threads: int
    keep: dict[str, int] = field(default_factory=dict)
    """Bytes of prefixes, by peer."""


class RunningPeers:
    """By name; one that fails is out, and its record says why."""

    def __init__(self, material: Material, say: Say) -> None:
        """None runs yet."""
        self._material, self._say = material, say
        self._running: dict[str, PeerProcess] = {}

    def start(
        self, stack: ExitStack, specs: Sequence[PeerSpec], place: Place, ran: Sequence[Ran]
    ) -> None:
        """Start their processes, which are left with ``stack``, and have them load the model.

        All at a time, unless they share a GPU, whose free memory some of them measure. ``ran``: all
        their ways, which say a failure.
        """
        ways = [(spec, [one for one in ran if one.contender.peer == spec.name]) for spec in specs]
        for some in [ways] if place.device == "cpu" else [[one] for one in ways]:
            for spec, mine in some:
                with _failing(mine):
                    self._begin(stack, spec, place, mine)
            for spec, mine in some:
                if spec.name in self._running:
                    with _failing(mine):
                        self._end(spec, mine)

    def ask(self, ran: Ran, unit: Unit) -> PeerScores | None:
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

    def _begin(self, stack: ExitStack, spec: PeerSpec, place: Place, mine: Sequence[Ran]) -> None:
        from minireranker.bench.peers import PeerProcess

        self._say(f"{spec.name}: starting it")
        process = stack.enter_context(PeerProcess(spec, self._say))
        process.load(
            *(place.model, place.dtype, place.device, place.threads),
            [ran.contender.method for ran in mine],
            keep_bytes=place.keep[spec.name],
        )
        self._running[spec.name] = process

    def _end(self, spec: PeerSpec, mine: Sequence[Ran]) -> None:
        told = self._running[spec.name].loaded()
        for ran in mine:
            ran.loaded = told
            ran.interpreter = "its own environment" if spec.in_venv else "this interpreter"


@contextmanager
def _failing(mine: Sequence[Ran]) -> Iterator[None]:
    from minireranker.bench.peers import PeerError

    try:
        yield
    except PeerError as error:
        for ran in mine:
            ran.failure = f"failed: {error}"
