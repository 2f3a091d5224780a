"""What is worked on together: neighbours, while there is room."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")


def passes(items: Iterable[_T], size: Callable[[_T], int], most: int) -> list[list[_T]]:
    """All items in order, in lists of ``most`` in sum; a larger one is alone."""
    found: list[list[_T]] = []
    used = 0
    for item in items:
        if not found or used + size(item) > most:
            found.append([])
            used = 0
        found[-1].append(item)
        used += size(item)
    return found
