"""The library itself, in this process."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from minireranker import DocumentId, Reranker
from minireranker.bench.machine import peak_memory
from minireranker.engine.types import FailedDocument, Ranking
from minireranker.errors import ConfigurationError

from .drawing import Item
from .target import Counters

__all__ = ["InProcess"]


class InProcess:
    """A Reranker as a target. Documents are files, so one whose entry is gone is read again."""

    name = "minireranker, in process"

    def __init__(self, reranker: Reranker) -> None:
        """``reranker``: with a cache of its own, that may be emptied."""
        self.reranker = reranker
        self._documents: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._pairs = 0
        self._work: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()

    def index(self, documents: Sequence[Item]) -> None:
        """Read documents. Raises ConfigurationError for the first that cannot be."""
        indexed = self.reranker.index([item.document() for item in documents], progress=False)
        _require_all(indexed.failed)
        self._documents |= {item.name: DocumentId(item.name) for item in documents}

    def know(self, documents: Sequence[Item]) -> None:
        """Take documents without reading any: a query does, when it first meets one."""
        self._documents |= {item.name: item.document() for item in documents}

    def rank(self, query: Item, ids: Sequence[str]) -> list[float]:
        """Scores in the order of ``ids``. Raises ConfigurationError where a document failed."""
        documents = [self._documents[name] for name in ids]
        ranking = self.reranker.rank(query.query(), documents, progress=False)
        _require_all(ranking.failed)
        self._count(ranking)
        scores = [0.0] * len(ids)
        for hit in ranking:
            scores[hit.index] = hit.score
        return scores

    def rank_all(
        self, queries: Sequence[Item], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """One call. Raises RejectedDocumentsError where a document failed."""
        lists = [[self._documents[name] for name in ids] for ids in candidates]
        asked = [query.query() for query in queries]
        rows = self.reranker.score_candidates(asked, lists, progress=False)
        return [row.tolist() for row in rows]

    def settle(self, cache: str) -> None:
        """See Target. ``warm-disk`` needs a cache with a folder."""
        kept = self.reranker.cache
        if cache == "cold":
            kept.drop(self.reranker.namespace.name)
        elif cache == "warm-disk":
            kept.flush()
            kept.memory.clear()

    def counters(self) -> Counters:
        """Of all ``rank`` calls; ``rank_all`` is not told what it did."""
        with self._lock:
            work = dict(self._work)
            hits, misses = work.pop("cache_hits", 0), work.pop("cache_misses", 0)
            layers = {n.removesuffix("_token_layers"): v for n, v in work.items()}
            return Counters(self._pairs, hits, misses, layers, dict(self._seconds))

    def memory(self) -> dict[str, int | None]:
        """Bytes, see Target."""
        model = self.reranker.state.model
        on_gpu = model.device.type == "cuda"
        return {
            "peak": peak_memory(),
            "gpu_peak": torch.cuda.max_memory_allocated(model.device) if on_gpu else None,
            "weights": model.nbytes,
            "cache": self.reranker.cache.memory.bytes,
        }

    def remarks(self) -> list[str]:
        """Nothing."""
        return []

    def close(self) -> None:
        """Close the cache."""
        self.reranker.cache.close()

    def _count(self, ranking: Ranking) -> None:
        work = dataclasses.asdict(ranking.work)
        counted = {n: v for n, v in work.items() if n.startswith("cache_") or "token_layers" in n}
        with self._lock:
            self._pairs += len(ranking)
            self._work.update(counted)
            self._seconds.update(dataclasses.asdict(ranking.timings))


def _require_all(failed: Sequence[FailedDocument]) -> None:
    if failed:
        raise ConfigurationError(
            f"{len(failed)} documents of the workload failed, so nothing is measured: {failed[0]}"
        )
