"""What went wrong on a server, as the types that the library would have raised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from minireranker.errors import InputError, MinirerankerError, UnknownDocumentError

from .generated import reranker_pb2 as pb
from .jobs import Failed
from .refusals import (
    DeadlineError,
    NotReadyError,
    QueueFullError,
    ServerError,
    UnauthenticatedError,
)
from .retrying import PUSHBACK

__all__ = ["error_of", "failed_of", "trailers_of"]

_NAMES: dict[int, str] = {one.value[0]: one.name for one in grpc.StatusCode}
_KINDS: dict[str, type[MinirerankerError]] = {
    "INVALID_ARGUMENT": InputError,
    # Without a word on when to come back it is gRPC's own, for a message that is too long.
    "RESOURCE_EXHAUSTED": InputError,
    "NOT_FOUND": UnknownDocumentError,
    "UNAUTHENTICATED": UnauthenticatedError,
    "UNAVAILABLE": NotReadyError,
    "DEADLINE_EXCEEDED": DeadlineError,
}


def failed_of(failure: pb.Failure) -> Failed:
    """A document's error, as the type that the library would have raised."""
    code = _NAMES.get(failure.code, "UNKNOWN")
    identity = failure.id if failure.HasField("id") else None
    query = failure.query if failure.HasField("query") else None
    return Failed(failure.index, identity, _error(code, failure.message, {}), query)


def error_of(error: Any) -> MinirerankerError:
    """What a call that failed is raised as."""
    return _error(error.code().name, error.details() or "", trailers_of(error))


def trailers_of(error: Any) -> dict[str, str | bytes]:
    """Metadata that came with an error."""
    return dict(error.trailing_metadata() or ())


def _error(code: str, words: str, trailers: Mapping[str, str | bytes]) -> MinirerankerError:
    if code == "RESOURCE_EXHAUSTED" and PUSHBACK in trailers:
        return QueueFullError(words.rpartition("; ")[0], int(trailers[PUSHBACK]) / 1_000)
    kind = _KINDS.get(code)
    return ServerError(f"{code}: {words}") if kind is None else kind(words)
