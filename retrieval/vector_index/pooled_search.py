"""Searches pooled vectors as the index's settings say."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.errors import ConfigurationError, InputError, VectorIndexError

from .exact import Nearest, nearest
from .graph import Graph
from .manifest import GraphEntry
from .snapshot import Snapshot

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Found:
    """Documents near one query, the best first."""

    ids: tuple[str, ...]
    scores: NDArray[np.float32]
    """[n]: inner products of the pooled vectors."""


class PooledSearch:
    """Of the index in ``folder``; keeps the graph it has loaded."""

    def __init__(self, folder: Path, relink: Callable[[GraphEntry], None]) -> None:
        """``relink`` makes a graph anew; raises VectorIndexError where that cannot be now."""
        self._folder, self._relink = folder, relink
        self._lock = threading.Lock()
        self._loaded: tuple[GraphEntry, Graph] | None = None
        self._given_up: GraphEntry | None = None

    def find(self, state: Callable[[], Snapshot], queries: Tensor, top_k: int) -> list[Found]:
        """See ``VectorIndex.search``; ``state`` is the index's, which ``relink`` may change."""
        queries = _checked(queries, state().manifest.settings.pooled_dim, top_k)
        graph = self._graph(state)
        snapshot = state()
        top_k = min(top_k, snapshot.documents)
        if not top_k:
            return [Found((), np.empty(0, np.float32)) for _ in queries]
        found = (
            graph.search(snapshot, queries, top_k) if graph else nearest(snapshot, queries, top_k)
        )
        return [_named(snapshot, item) for item in found]

    def _graph(self, state: Callable[[], Snapshot]) -> Graph | None:
        """Of this state; None: there is none, look at all documents."""
        entry = state().manifest.graph
        with self._lock:
            if self._loaded is not None and self._loaded[0] == entry:
                return self._loaded[1]
            if entry is None or entry == self._given_up:
                return None
        try:
            return self._load(state())
        except VectorIndexError as error:
            logger.warning("%s; it is made anew from the pooled vectors", error)
        try:
            self._relink(entry)
            return self._load(state())
        except VectorIndexError as error:
            logger.warning("no graph of neighbours, all documents are searched: %s", error)
            self._given_up = entry
        return None

    def _load(self, snapshot: Snapshot) -> Graph | None:
        now = snapshot.manifest
        if now.graph is None:
            return None
        graph = Graph.load(self._folder, now.graph, now.settings.pooled_dim)
        with self._lock:
            self._loaded = (now.graph, graph)
        return graph


def _checked(queries: Tensor, dim: int, top_k: int) -> Tensor:
    if not dim:
        raise ConfigurationError("this index has no pooled vectors: score() its token vectors")
    if type(top_k) is not int or top_k < 1:
        raise ConfigurationError(f"top_k = {top_k!r}: allowed is 1 or more")
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise InputError(f"queries {tuple(queries.shape)}: give [n, {dim}]")
    queries = queries.detach().to("cpu", torch.float32)
    if not torch.isfinite(queries).all():
        raise InputError("NaN or infinity in the pooled vectors of queries: encode them again")
    return queries


def _named(snapshot: Snapshot, item: Nearest) -> Found:
    return Found(tuple(snapshot.texts("ids", snapshot.at(item.positions))), item.scores)
