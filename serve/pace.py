"""How long what waits will take, judged by the rounds so far."""

from __future__ import annotations

__all__ = ["Pace"]

_MEMORY = 0.2
"""Share of the newest round."""
_CAUTION = 4.0
"""Mean deviations added to what is expected: a promise is kept by slow rounds too."""


class Pace:
    """Seconds a document takes and how far that strays, both forgetting what is long ago.

    Mean and mean deviation as TCP judges round trips, RFC 6298.
    """

    def __init__(self) -> None:
        """Nothing is known: nothing takes any time."""
        self._mean = self._deviation = 0.0

    def note(self, documents: int, seconds: float) -> None:
        """A round, from its deal to its last answer."""
        if documents < 1 or seconds <= 0:
            return
        found = seconds / documents
        if not self._mean:
            self._mean, self._deviation = found, found / 2
            return
        self._deviation += _MEMORY * (abs(found - self._mean) - self._deviation)
        self._mean += _MEMORY * (found - self._mean)

    def expected(self, documents: int) -> float:
        """Seconds."""
        return documents * self._mean

    def at_most(self, documents: int) -> float:
        """Seconds, unless rounds get slower than they have been."""
        return documents * (self._mean + _CAUTION * self._deviation)
