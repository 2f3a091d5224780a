"""Text files a line at a time, each knowing where it stands, for errors that name the place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minireranker.errors import ConfigurationError, InputError

__all__ = ["Line", "read_lines"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file, without its end."""

    path: Path
    number: int
    """From 1."""
    text: str

    def wrong(self, what: str) -> InputError:
        """The error that says what is wrong with this line."""
        return InputError(f"{self.path}, line {self.number}: {what}")

    def record(self) -> dict[str, Any]:
        """The line's JSON object, without what is null. Raises InputError."""
        try:
            found = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"not JSON ({error}); write one object a line") from error
        if not isinstance(found, dict):
            raise self.wrong(f"a {type(found).__name__}; write one JSON object a line")
        return {key: value for key, value in found.items() if value is not None}

    def fields(self) -> list[str]:
        """Its columns: between tabs where it has any, else between blanks."""
        parts = self.text.split("\t") if "\t" in self.text else self.text.split()
        return [part.strip() for part in parts]


def read_lines(path: Path) -> Iterator[Line]:
    """Lines that are not blank. Raises ConfigurationError for a file that cannot be opened,
    InputError for a line that is not UTF-8."""
    try:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                if raw.strip():
                    yield _decoded(path, number, raw)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}; check the path") from error


def _decoded(path: Path, number: int, raw: bytes) -> Line:
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise Line(path, number, "").wrong("not UTF-8; write the file in that encoding") from error
    return Line(path, number, text.rstrip("\r\n"))
