"""Why a request is not served although nothing is wrong with what it asks for.

MinirerankerError
├── QueueFullError          too much waits already: come back after ``retry_after`` seconds
├── DeadlineError           its deadline passed before it was answered
├── NotReadyError           warming up, or going away
│   └── EngineEndedError    nobody is left to compute
├── UnauthenticatedError    no token, or not one of ours
├── ForbiddenError          the token's owner may not know it
└── ServerError             of clients: the server failed, or sent what it should not
"""

from __future__ import annotations

from minireranker.errors import MinirerankerError

__all__ = [
    "DeadlineError",
    "EngineEndedError",
    "ForbiddenError",
    "NotReadyError",
    "QueueFullError",
    "ServerError",
    "UnauthenticatedError",
]


class QueueFullError(MinirerankerError):
    """Overload: refused before anything of it was computed, mostly before it was decoded.

    Attributes: ``retry_after`` (seconds until there should be room, at least 1).
    """

    def __init__(self, message: str, retry_after: float) -> None:
        """The message ends with the seconds."""
        super().__init__(f"{message}; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class DeadlineError(MinirerankerError):
    """The deadline passed while the request waited or between two of its rounds."""


class NotReadyError(MinirerankerError):
    """The server is warming up, or stops and takes nothing new."""


class EngineEndedError(NotReadyError):
    """The process that computes has ended, and the server ends after it."""

    def __init__(self) -> None:
        """There is one thing to say."""
        super().__init__("the engine has ended; ask another server")


class UnauthenticatedError(MinirerankerError):
    """A request without a token that this server knows."""


class ForbiddenError(MinirerankerError):
    """Something that the caller is known for and may not know."""


class ServerError(MinirerankerError):
    """What a client gets where the fault is the server's."""
