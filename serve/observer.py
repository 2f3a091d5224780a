"""What the service tells whoever counts: metrics and tracing implement it.

All methods are called on the event loop's thread, must return at once and must not raise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from .jobs import Answer, Job, Kind

__all__ = ["Observer", "Observers", "Round", "Silent"]


@dataclass(frozen=True)
class Round:
    """One call of the engine, for one or several requests."""

    kind: str
    """"rank", of "rerank" and "score" jobs, which share rounds; or "index"."""
    jobs: int
    documents: int
    """Pairs, where documents are scored for several queries."""
    seconds: float
    tokens_computed: int
    tokens_cached: int
    failed: int
    """Of those, how many got an error: their own, or one of their request."""
    stages: dict[str, float]
    """Seconds: inputs, prefix, suffix."""


class Observer(Protocol):
    """Gets every event of the service."""

    def job_queued(self, job: Job) -> None:
        """It was admitted."""

    def job_refused(self, kind: Kind, code: str) -> None:
        """A job was not; ``code``: a gRPC status name, RESOURCE_EXHAUSTED for instance."""

    def job_started(self, job: Job, waited: float) -> None:
        """Its first documents were taken, after so many seconds."""

    def job_done(self, job: Job, code: str, answer: Answer | None) -> None:
        """An admitted job ended; ``answer`` is None unless the code is OK.

        "CANCELLED" where the caller left.
        """

    def round_done(self, done: Round) -> None:
        """The engine came back."""

    def queue_depth(self, documents: int) -> None:
        """So many wait now."""


class Silent:
    """An Observer that does nothing."""

    def job_queued(self, job: Job) -> None:
        """See Observer."""

    def job_refused(self, kind: Kind, code: str) -> None:
        """See Observer."""

    def job_started(self, job: Job, waited: float) -> None:
        """See Observer."""

    def job_done(self, job: Job, code: str, answer: Answer | None) -> None:
        """See Observer."""

    def round_done(self, done: Round) -> None:
        """See Observer."""

    def queue_depth(self, documents: int) -> None:
        """See Observer."""


class Observers:
    """Several observers as one."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        """In the order they are told."""
        self._all = tuple(observers)

    def job_queued(self, job: Job) -> None:
        """See Observer."""
        for one in self._all:
            one.job_queued(job)

    def job_refused(self, kind: Kind, code: str) -> None:
        """See Observer."""
        for one in self._all:
            one.job_refused(kind, code)

    def job_started(self, job: Job, waited: float) -> None:
        """See Observer."""
        for one in self._all:
            one.job_started(job, waited)

    def job_done(self, job: Job, code: str, answer: Answer | None) -> None:
        """See Observer."""
        for one in self._all:
            one.job_done(job, code, answer)

    def round_done(self, done: Round) -> None:
        """See Observer."""
        for one in self._all:
            one.round_done(done)

    def queue_depth(self, documents: int) -> None:
        """See Observer."""
        for one in self._all:
            one.queue_depth(documents)
