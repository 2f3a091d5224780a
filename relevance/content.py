"""From a JSON value to a Query or a Document, media found beside the file they stand in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from minireranker.engine.content import Document, Query
from minireranker.errors import InputError

from .lines import Line

__all__ = ["CONTENT", "content_fields", "identifier", "made"]

CONTENT = ("text", "image", "video")
"""What a row may hold of content, beside the title that is put before the text."""

_Side = TypeVar("_Side", Query, Document)


def content_fields(value: Any, line: Line) -> dict[str, Any]:
    """The fields of a Query for a text or an object with title, text, image, video.

    An image or a video is a path, or a list of paths, from the folder of the line's file. Raises
    InputError, naming file and line, for anything else, and for an object without content.
    """
    row = {"text": value} if isinstance(value, str) else value
    if not isinstance(row, Mapping):
        raise line.wrong(f"{value!r:.80} is no content; write a text, or an object with {_NAMES}")
    fields = {name: _strings(row[name], name, line) for name in CONTENT if _given(row, name)}
    title = _strings(row["title"], "title", line) if _given(row, "title") else ""
    if title:
        # As BEIR has it: the title, a blank, the text.
        fields["text"] = " ".join((*_listed(title), *_listed(fields.get("text", ()))))
    if not fields:
        raise line.wrong(f"there is no content; write one of {_NAMES}")
    folder = line.path.parent
    return {k: v if k == "text" else _located(v, folder) for k, v in fields.items()}


def made(kind: type[_Side], fields: dict[str, Any], line: Line) -> _Side:
    """A Query or Document of these fields. Raises InputError, naming file and line."""
    try:
        return kind(**fields)
    except InputError as error:
        raise line.wrong(str(error)) from error


def identifier(row: Mapping[str, Any], names: tuple[str, ...], line: Line) -> str:
    """The row's id, under the first of ``names`` it has; a whole number is one too.

    Raises InputError, naming file and line, where there is none.
    """
    value = next((row[name] for name in names if name in row), None)
    if isinstance(value, str) and value.strip():
        return value.strip()
    if type(value) is int:
        return str(value)
    raise line.wrong(f"no id: {names[0]} = {value!r:.80}; write a string")


_NAMES = "title, text, image, video"


def _given(row: Mapping[str, Any], name: str) -> bool:
    """Whether there is something: "" and [] are how tables write nothing."""
    return row.get(name) is not None and row[name] not in ("", [])


def _strings(value: Any, name: str, line: Line) -> Any:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in values):
        raise line.wrong(f"{name} = {value!r:.80}; write a string or a list of strings")
    if name in ("image", "video") and "" in values:
        raise line.wrong(f"{name} has an empty path; write the path, or leave it out")
    return value


def _listed(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _located(value: Any, folder: Path) -> Any:
    """Paths from the file's folder. A URL stays one, for the engine to say that it fetches none."""
    if isinstance(value, list):
        return [_located(item, folder) for item in value]
    if "://" in value or value.startswith("data:"):
        return value
    return folder / value
