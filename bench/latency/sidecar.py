"""A running sidecar over gRPC: documents are uploaded once, then named by their ids."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from minireranker.errors import ConfigurationError, MissingDependencyError

from .drawing import Item
from .target import Counters

__all__ = ["Sidecar", "address_of"]

_SCHEME = "grpc://"
_NANOSECOND = 1e-9


def address_of(url: str) -> str:
    """host:port of ``grpc://host:port`` or of that alone. Raises ConfigurationError."""
    address = url.removeprefix(_SCHEME)
    if address.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"--target {url}: HTTP sends every document again with every query, so nothing warm "
            "could be timed; give the sidecar's gRPC address, grpc://host:port"
        )
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal()):
        raise ConfigurationError(f"--target {url}: give grpc://host:port")
    return address


class Sidecar:
    """A server as a target. What it has cached is its own affair: ``settle`` changes nothing."""

    def __init__(self, url: str) -> None:
        """Connects when first used. Raises ConfigurationError, and MissingDependencyError."""
        address = address_of(url)
        try:
            from minireranker.serve.client import Client, Id
        except ImportError as error:
            raise MissingDependencyError(
                f"--target {url} needs the sidecar's client ({error}); "
                "pip install 'minireranker[serve]'"
            ) from error
        self.name = f"sidecar at {address}, gRPC"
        self._client, self._id = Client(address), Id
        self._lock = threading.Lock()
        self._pairs = 0
        self._seconds: Counter[str] = Counter()

    def index(self, documents: Sequence[Item]) -> None:
        """Upload documents. Raises ConfigurationError for the first that failed."""
        _require_all(self._client.index([item.document() for item in documents]).failed)

    def rank(self, query: Item, ids: Sequence[str]) -> list[float]:
        """Scores in the order of ``ids``. Raises ConfigurationError where a document failed."""
        outcome = self._client.rank(query.query(), [self._id(name) for name in ids])
        _require_all(outcome.failed)
        times = vars(outcome.timings)
        with self._lock:
            self._pairs += len(ids)
            for name in ("queue", "inputs", "prefix", "suffix"):
                self._seconds[name] += times[name] * _NANOSECOND
        scores = [0.0] * len(ids)
        for hit in outcome.results:
            scores[hit.index] = hit.score
        return scores

    def rank_all(
        self, queries: Sequence[Item], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """One query after the other: the protocol has no call for lists of their own."""
        return [self.rank(query, ids) for query, ids in zip(queries, candidates, strict=True)]

    def settle(self, cache: str) -> None:
        """Nothing: ``warm-memory`` is what a server that was just asked is in."""

    def counters(self) -> Counters:
        """Stages as the server tells them; it does not tell which entries were hits."""
        with self._lock:
            return Counters(pairs=self._pairs, stage_seconds=dict(self._seconds))

    def memory(self) -> dict[str, int | None]:
        """Not known from here."""
        return dict.fromkeys(("peak", "gpu_peak", "weights", "cache"))

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def _require_all(failed: Sequence[Any]) -> None:
    if failed:
        first = failed[0]
        raise ConfigurationError(
            f"{len(failed)} documents of the workload failed at the sidecar, so nothing is "
            f"measured: document {first.index}: {first.error}"
        )
