"""Seconds by part of an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up seconds under names."""

    def __init__(self) -> None:
        """Nothing was done yet."""
        self.parts: dict[str, float] = {}

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """What is done inside counts as ``part``; not to be nested."""
        start = time.perf_counter()
        yield
        self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - start
