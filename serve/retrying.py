"""When a client tries again, and how long it waits before.

Every method of the service can be repeated: scoring changes nothing, indexing and evicting twice is
as good as once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from minireranker.errors import ConfigurationError

__all__ = ["Attempts", "Retries"]

PUSHBACK = "grpc-retry-pushback-ms"
"""Trailer in which a server says when to come back."""


@dataclass(frozen=True)
class Retries:
    """Waits double from ``first`` to ``most`` seconds; each is drawn between half and all of it.

    Raises ConfigurationError for numbers that make no sense.
    """

    attempts: int = 12
    """Calls made before giving up, the first included."""
    first: float = 0.1
    most: float = 5.0

    def __post_init__(self) -> None:
        """Check them."""
        if type(self.attempts) is not int or self.attempts < 1:
            raise ConfigurationError(f"attempts = {self.attempts!r}: allowed is 1 or more")
        if not 0 < self.first <= self.most:
            raise ConfigurationError(
                f"first = {self.first!r}, most = {self.most!r}: allowed is 0 < first <= most"
            )


class Attempts:
    """The attempts of one call, all together within ``timeout`` seconds."""

    def __init__(self, retries: Retries, timeout: float | None) -> None:
        """``timeout=None``: as long as it takes."""
        self._retries, self._made = retries, 0
        self._end = None if timeout is None else time.monotonic() + timeout

    @property
    def left(self) -> float | None:
        """Seconds the next attempt may take."""
        return None if self._end is None else max(self._end - time.monotonic(), 0.0)

    def pause(self, code: str, trailers: Mapping[str, str | bytes]) -> float | None:
        """Seconds to wait after an attempt that ended with a gRPC code; None: give up.

        UNAVAILABLE is tried again, and RESOURCE_EXHAUSTED if the server says when to come back: a
        message that is too long has the same code and will not get any shorter.
        """
        self._made += 1
        pushback = _seconds(trailers.get(PUSHBACK))
        is_worth_it = code == "UNAVAILABLE" or (code == "RESOURCE_EXHAUSTED" and pushback > 0)
        if not is_worth_it or self._made >= self._retries.attempts:
            return None
        longest = min(self._retries.first * 2.0 ** (self._made - 1), self._retries.most)
        wait = max(random.uniform(longest / 2, longest), pushback)
        left = self.left
        return wait if left is None or wait < left else None


def _seconds(pushback: str | bytes | None) -> float:
    try:
        return max(int(pushback or 0), 0) / 1_000
    except ValueError:
        return 0.0
