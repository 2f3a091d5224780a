"""The rate to hold the server's against: the same requests in whole rounds, without any server."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from .workload import Workload

if TYPE_CHECKING:
    from minireranker import Reranker

__all__ = ["InProcess"]


@dataclass
class InProcess:
    """Ranks in this process. ``documents`` took ``seconds``, of them ``cpu`` in computing."""

    reranker: Reranker
    workload: Workload
    together: int
    """Requests of a round."""
    documents: int = 0
    seconds: float = 0.0
    cpu: float = 0.0

    def __post_init__(self) -> None:
        """Index everything, and rank once: what is lazy is done by then."""
        from minireranker import Document

        texts = self.workload.texts.items()
        self.reranker.index([Document(id=name, text=text) for name, text in texts], progress=False)
        self._requests = self.workload.requests()
        self._round()

    @property
    def rate(self) -> float:
        """Documents a second, so far."""
        return self.documents / self.seconds

    def run(self, seconds: float) -> float:
        """So long, or a little longer; documents a second of it."""
        start, cpu, done = time.monotonic(), time.process_time(), 0
        while time.monotonic() - start < seconds:
            done += self._round()
        passed = time.monotonic() - start
        self.documents, self.seconds = self.documents + done, self.seconds + passed
        self.cpu += time.process_time() - cpu
        return done / passed

    def _round(self) -> int:
        from minireranker import DocumentId

        requests = list(islice(self._requests, self.together))
        lists = [[DocumentId(name) for name in names] for _, names in requests]
        self.reranker.score_candidates([query for query, _ in requests], lists, progress=False)
        return sum(map(len, lists))
