"""Loads what is measured: the reranker, with a cache of its own."""

from __future__ import annotations

from pathlib import Path

from minireranker import Cache, Reranker
from minireranker.errors import ConfigurationError
from minireranker.models import BUILTIN

from .bench import LatencyBench
from .in_process import InProcess

__all__ = ["draws_importances", "load", "require_warm"]


def load(bench: LatencyBench, path: Path, entries: Path, room: int) -> InProcess:
    """``path``: of the checkpoint; ``entries``: a folder for a cache on disk; ``room``: bytes.

    Raises ConfigurationError for a profile that caches nothing of a document, and what
    ``Reranker.from_pretrained`` raises.
    """
    cache = Cache(entries if bench.state == "warm-disk" else None, memory_bytes=room)
    reranker = Reranker.from_pretrained(
        BUILTIN if str(bench.model) == BUILTIN else path,
        profile=bench.profile,
        dtype=bench.dtype,
        device=bench.device,
        embedder=bench.embedder,
        cache=cache,
    )
    if reranker.profile.template.order == "query-first":
        cache.close()
        raise ConfigurationError(
            f"profile {reranker.profile.name} puts the query first, so nothing of a document "
            "is cached that could be timed; name one whose template.order is vision-first"
        )
    return InProcess(reranker)


def draws_importances(bench: LatencyBench, reranker: Reranker) -> bool:
    """Whether visual tokens are pruned by random importances: there is no embedder to say.

    Raises ConfigurationError where they would have to be sent to a sidecar.
    """
    random = reranker.profile.keep_ratio < 1 and reranker.embedder is None
    if random and bench.target is not None:
        raise ConfigurationError(
            f"profile {reranker.profile.name} prunes, and no importances can be sent to a sidecar: "
            "name the embedder that it has (--embedder), or a profile that keeps everything"
        )
    return random


def require_warm(bench: LatencyBench, missed: int, room: int) -> None:
    """Raise ConfigurationError where a query did not find in memory what was read ahead of it.

    ``missed``: entries that its candidates should have had; ``room``: bytes of the cache.
    """
    # A query that is an image comes first: captions have no entries.
    if missed and bench.state == "warm-memory" and bench.load.query == "text":
        raise ConfigurationError(
            f"{missed} entries did not stay in the {room / 2**20:.1f} MiB that is left beside the "
            "peers, so nothing warm could be timed: take fewer peers (--peer), fewer documents "
            "(--documents), or --cache warm-disk"
        )
