"""What a client may know of the server."""

from __future__ import annotations

from dataclasses import dataclass

from minireranker import __version__

from .engine import Facts
from .options import ServiceOptions

__all__ = ["Info", "info_of"]


@dataclass(frozen=True)
class Info:
    """Model, limits and load. No path of the server's."""

    version: str
    model: str
    """The checkpoint's name, without its folder."""
    profile: str
    device: str
    dtype: str
    max_documents: int
    max_queries: int
    queue_documents: int
    """That may wait, of who asks."""
    max_tokens: int
    """Of a pair; longer text is cut."""
    waiting: int
    """Documents in the queue now."""
    ready: bool


def info_of(facts: Facts, options: ServiceOptions, tenant: str, waiting: int, ready: bool) -> Info:
    """Of a loaded model behind a queue, for a tenant."""
    return Info(
        version=__version__,
        model=facts.checkpoint.name,
        profile=facts.profile,
        device=facts.device,
        dtype=facts.dtype,
        max_documents=options.max_documents,
        max_queries=options.max_queries,
        queue_documents=options.quota(tenant),
        max_tokens=facts.limits.max_tokens,
        waiting=waiting,
        ready=ready,
    )
