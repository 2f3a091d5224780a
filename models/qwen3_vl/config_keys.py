"""Reading a nested config dict so that all that is wrong in it comes out in one error.

A reader that finds a bad key notes it and returns a harmless value of the right type; the caller
goes on, and ``raise_problems`` ends the reading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from minireranker.errors import CheckpointError

_T = TypeVar("_T", bool, int, float, str)


class Keys:
    """One section of a config; sections share the list of problems."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        """A reader of the top section."""
        self._data, self._prefix, self._is_missing = data, "", False
        self._problems: dict[str, str] = {}

    def __contains__(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self._data.get(key) is not None

    def section(self, key: str) -> Keys:
        """A nested section; an absent one is one problem, not one for each of its keys."""
        value = self._data.get(key)
        nested = Keys(value if isinstance(value, Mapping) else {})
        nested._prefix, nested._problems = f"{self._prefix}{key}.", self._problems
        nested._is_missing = not isinstance(value, Mapping)
        if nested._is_missing:
            self._note(key, "a section with keys of its own")
        return nested

    def integer(self, key: str, minimum: int = 1) -> int:
        """A whole number of at least ``minimum``."""
        value = self._data.get(key)
        if type(value) is int and value >= minimum:
            return value
        self._note(key, f"a whole number of at least {minimum}")
        return max(minimum, 1)

    def positive(self, key: str) -> float:
        """A number above 0."""
        value = self._data.get(key)
        if isinstance(value, int | float) and type(value) is not bool and 0 < value < math.inf:
            return float(value)
        self._note(key, "a number above 0")
        return 1.0

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        value = self._data.get(key)
        if isinstance(value, list | tuple) and all(type(item) is int for item in value):
            return tuple(value)
        self._note(key, "a list of whole numbers")
        return ()

    def triple(self, key: str) -> tuple[int, int, int]:
        """A list of three whole numbers above 0."""
        value = self._data.get(key)
        if isinstance(value, list | tuple) and len(value) == 3:
            first, second, third = value
            if all(type(item) is int and item > 0 for item in value):
                return first, second, third
        self._note(key, "a list of three whole numbers above 0")
        return 1, 1, 1

    def constant(self, key: str, only: _T) -> _T:
        """The one value this code was written for; an absent key means it."""
        return self.choice(key, (only,), default=only)

    def choice(self, key: str, allowed: tuple[_T, ...], default: _T) -> _T:
        """One of a few values; an absent key means the default."""
        value = self._data.get(key)
        if isinstance(value, str):
            value = value.removeprefix("torch.")
        for option in allowed:
            if value == option and isinstance(value, bool) == isinstance(option, bool):
                return option
        if value is not None:
            self._note(key, " or ".join(repr(option) for option in allowed))
        return default

    def absent(self, key: str, why: str) -> None:
        """A key that may not be there; ``why`` completes "allowed is none: ..."."""
        if key in self:
            self._note(key, f"none: {why}")

    def require(self, key: str, holds: bool, allowed: str, rests_on: tuple[str, ...] = ()) -> None:
        """Note a value that does not go with others, unless one of them is itself bad.

        ``rests_on`` holds the dotted names of those others.
        """
        if not holds and not any(map(self._is_bad, (self._prefix + key, *rests_on))):
            self._note(key, allowed)

    def raise_problems(self, source: str) -> None:
        """Raise CheckpointError with all that was noted, if anything was."""
        if self._problems:
            lines = "".join(f"\n  {text}" for text in self._problems.values())
            raise CheckpointError(
                f"{source} does not describe a model this version can run:{lines}\n"
                "Correct these keys, or download the checkpoint again"
            )

    def _is_bad(self, name: str) -> bool:
        return any(name == bad or name.startswith(f"{bad}.") for bad in self._problems)

    def _note(self, key: str, allowed: str) -> None:
        if self._is_missing:
            return
        name, value = self._prefix + key, self._data.get(key)
        found = f"{name} = {value!r}" if key in self._data else f"{name} is missing"
        self._problems.setdefault(name, f"{found}: allowed is {allowed}")
