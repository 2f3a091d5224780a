"""How much the service admits and how it cuts its rounds; the server's configuration embeds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from minireranker.errors import ConfigurationError

__all__ = ["ServiceOptions"]


@dataclass(frozen=True)
class ServiceOptions:
    """Raises ConfigurationError for numbers that nothing could be served with."""

    queue_documents: int = 1_024
    """Documents that may wait or be computed, once for each query of theirs; more is refused."""
    queue_seconds: float | None = None
    """Within which a request should have its answer, by the pace of the rounds so far; one that
    would take longer is refused unless nobody waits. None: documents alone bound the wait."""
    tenant_documents: int | None = None
    """Of ``queue_documents``, how many of one tenant; None: all."""
    quotas: Mapping[str, int] = field(default_factory=dict)
    """Instead of ``tenant_documents``, for tenants by name."""
    queue_bytes: int = 2**30
    """Text and encoded media that all waiting requests may hold."""
    max_documents: int = 1_000
    """Documents of one request."""
    max_queries: int = 64
    """Queries of one "score" request."""
    round_documents: int = 256
    """Documents of one call of the engine, once for each query."""
    round_tokens: int = 16_384
    """Estimated tokens of one call of the engine; a single document may exceed it."""
    slice_documents: int = 64
    """Of a round, what one request gets before the others have had theirs."""
    show_cache: bool = True
    """Whether answers tell what came from the cache, and how long each stage took."""
    show_cache_to: Mapping[str, bool] = field(default_factory=dict)
    """Instead of ``show_cache``, for tenants by name."""

    def __post_init__(self) -> None:
        """Check every number."""
        for name in (
            "queue_documents",
            "queue_bytes",
            "max_documents",
            "max_queries",
            "round_documents",
            "round_tokens",
            "slice_documents",
        ):
            _check(name, getattr(self, name))
        if self.queue_seconds is not None and not self.queue_seconds > 0:
            raise ConfigurationError(
                f"queue_seconds = {self.queue_seconds!r}: allowed is above 0, or None"
            )
        if self.tenant_documents is not None:
            _check("tenant_documents", self.tenant_documents)
        for tenant, quota in self.quotas.items():
            _check(f"quotas[{tenant!r}]", quota)

    def quota(self, tenant: str) -> int:
        """Documents of a tenant that may wait."""
        most = self.tenant_documents or self.queue_documents
        return min(self.quotas.get(tenant, most), self.queue_documents)

    def shows_cache(self, tenant: str) -> bool:
        """Whether a tenant may know what others' requests have left in the cache."""
        return self.show_cache_to.get(tenant, self.show_cache)


def _check(name: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{name} = {value!r}: allowed is 1 or more")
