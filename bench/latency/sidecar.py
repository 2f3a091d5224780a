"""A running sidecar over gRPC: documents are uploaded once, then named by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minireranker.errors import ConfigurationError, MissingDependencyError

from .drawing import Item
from .remote import Remote, failed_there

__all__ = ["Sidecar", "address_of"]

_SCHEME = "grpc://"


def address_of(url: str) -> str:
    """host:port of ``grpc://host:port`` or of that alone. Raises ConfigurationError."""
    address = url.removeprefix(_SCHEME)
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal()) or "/" in host:
        raise ConfigurationError(f"--target {url}: give grpc://host:port or http://host:port")
    return address


class Sidecar(Remote):
    """Driven through the project's own client."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Connects when first used. Raises ConfigurationError, and MissingDependencyError."""
        address = address_of(url)
        try:
            from minireranker.serve.client import Client, Id
            from minireranker.serve.client_options import ClientOptions
        except ImportError as error:
            raise MissingDependencyError(
                f"--target {url} needs the sidecar's client ({error}); "
                "pip install 'minireranker[serve]'"
            ) from error
        super().__init__(f"sidecar at {address}, gRPC")
        self._client, self._id = Client(address, ClientOptions(token=token)), Id

    def index(self, documents: Sequence[Item]) -> None:
        """Upload documents. Raises ConfigurationError for the first that failed."""
        _require_all(self._client.index([item.document() for item in documents]).failed)

    def rank(self, query: Item, ids: Sequence[str]) -> list[float]:
        """Scores in the order of ``ids``. Raises ConfigurationError where a document failed."""
        outcome = self._client.rank(query.query(), [self._id(name) for name in ids])
        _require_all(outcome.failed)
        self._note(len(ids), vars(outcome.timings))
        scores = [0.0] * len(ids)
        for hit in outcome.results:
            scores[hit.index] = hit.score
        return scores

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def _require_all(failed: Sequence[Any]) -> None:
    if failed:
        raise failed_there(len(failed), failed[0].index, failed[0].error)
