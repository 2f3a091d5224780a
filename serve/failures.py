"""What a client is told of an error: a gRPC code, an HTTP status and a sentence.

The sentences of errors that are the caller's business are public: they are written for him and hold
nothing of a decoder's words. Of all others he gets an id, and the log has the rest under it.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass

from minireranker.errors import (
    ConfigurationError,
    InputError,
    MissingDependencyError,
    NonFiniteScoreError,
    UnknownDocumentError,
)

from .refusals import (
    DeadlineError,
    ForbiddenError,
    NotReadyError,
    QueueFullError,
    UnauthenticatedError,
)

__all__ = ["PUBLIC", "Failure", "code_of", "failure_of"]

_LOG = logging.getLogger(__name__)

PUBLIC: dict[type[Exception], tuple[str, int]] = {
    InputError: ("INVALID_ARGUMENT", 400),
    ConfigurationError: ("INVALID_ARGUMENT", 400),
    UnauthenticatedError: ("UNAUTHENTICATED", 401),
    ForbiddenError: ("PERMISSION_DENIED", 403),
    UnknownDocumentError: ("NOT_FOUND", 404),
    QueueFullError: ("RESOURCE_EXHAUSTED", 429),
    NonFiniteScoreError: ("INTERNAL", 500),
    MissingDependencyError: ("UNIMPLEMENTED", 501),
    NotReadyError: ("UNAVAILABLE", 503),
    DeadlineError: ("DEADLINE_EXCEEDED", 504),
}
"""gRPC code and HTTP status of errors whose message may be shown; subclasses have their base's."""

_OURS = "INTERNAL", 500


@dataclass(frozen=True)
class Failure:
    """An error as a client gets to see it."""

    code: str
    """Name of a gRPC status code."""
    status: int
    """Of HTTP."""
    message: str
    retry_after: float | None = None
    """Seconds; of an overload only."""
    error_id: str | None = None
    """Under which the log has the error; None where the message says it all."""


def code_of(error: BaseException) -> str:
    """Name of the gRPC status code of an error."""
    return _entry(error)[0]


def failure_of(error: Exception) -> Failure:
    """What to answer; errors that are ours are logged here, with their traceback."""
    code, status = _entry(error)
    if _is_public(error):
        return Failure(code, status, str(error), getattr(error, "retry_after", None))
    error_id = secrets.token_hex(8)
    _LOG.error("error %s", error_id, exc_info=error)
    return Failure(code, status, f"internal error {error_id}; report this id", None, error_id)


def _is_public(error: BaseException) -> bool:
    return any(kind in PUBLIC for kind in type(error).__mro__)


def _entry(error: BaseException) -> tuple[str, int]:
    return next((PUBLIC[kind] for kind in type(error).__mro__ if kind in PUBLIC), _OURS)
