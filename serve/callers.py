"""Who calls over gRPC, until when, and under which id."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from typing import Any

from .logs import request_id
from .seams import Authenticator
from .tracing import remember_caller

__all__ = ["AUTHORIZATION", "REQUEST_ID", "Caller", "Callers"]

AUTHORIZATION, REQUEST_ID = "authorization", "x-request-id"
"""Keys of metadata."""

_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Caller:
    """One call's."""

    tenant: str
    request_id: str
    until: float | None
    """Its own deadline, ``time.monotonic()``."""
    seconds: float
    """Where it has none, for each request it makes."""

    @property
    def deadline(self) -> float:
        """Of a request that it makes now."""
        return time.monotonic() + self.seconds if self.until is None else self.until

    @property
    def room(self) -> tuple[str, float]:
        """Whose a request would be, and until when: for ``Service.check_room``."""
        return self.tenant, self.deadline


class Callers:
    """Reads them off calls."""

    def __init__(self, authenticator: Authenticator, deadline_seconds: float) -> None:
        """``deadline_seconds``: for calls that bring none."""
        self._authenticator, self._seconds = authenticator, deadline_seconds

    def of(self, context: Any) -> Caller:
        """Its id is the one it brings, or a new one; log lines carry it, spans its ``traceparent``.

        Raises UnauthenticatedError.
        """
        metadata = dict(context.invocation_metadata() or ())
        given = metadata.get(REQUEST_ID, "")
        is_good = isinstance(given, str) and _ID.fullmatch(given)
        name = str(given) if is_good else secrets.token_hex(8)
        request_id.set(name)
        remember_caller(metadata)
        left = context.time_remaining()
        until = None if left is None else time.monotonic() + left
        return Caller(self.tenant(metadata), name, until, self._seconds)

    def tenant(self, metadata: dict[str, str | bytes]) -> str:
        """Whose call it is. Raises UnauthenticatedError."""
        given = metadata.get(AUTHORIZATION)
        return self._authenticator.tenant(given if isinstance(given, str) else None)
