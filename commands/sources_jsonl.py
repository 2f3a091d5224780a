"""Documents from a JSONL file: one JSON object a line with text, image, video, id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minireranker.engine.content import Document
from minireranker.errors import InputError

from .unreadable import unreadable

__all__ = ["read_jsonl"]


def read_jsonl(path: Path, label: str) -> Iterator[Document]:
    """One Document a line that is not blank; its id is the line's own, or ``label:N`` from 1.

    Paths of images and videos are relative to the file's folder. A line that is no such object is
    a document ``label:N`` that fails with the reason when it is read; so is a file that cannot be
    opened, as ``label``.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _document(line, path, number, label)
    except OSError as error:
        reason = f"{path}: {error.strerror or error}; check the path"
        yield unreadable(label, InputError(reason), hides=True)


def _document(line: bytes, path: Path, number: int, label: str) -> Document:
    name = f"{label}:{number}"
    try:
        fields = _fields(line)
        for key in ("image", "video"):
            if key in fields:
                fields[key] = _located(fields[key], path.parent)
        document = Document.of({"id": name, **fields})
        if document.is_reference:
            raise InputError("nothing to rank; give it a text, an image or a video")
        return document
    except InputError as error:
        return unreadable(name, type(error)(f"{path}, line {number}: {error}"), hides=True)


def _fields(line: bytes) -> dict[str, Any]:
    """The line's object, without what is null or an empty id.

    Its strings are checked here: the engine would take numbers for pixels.
    """
    try:
        found = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8; write the file in that encoding") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error}); write one object a line") from error
    if not isinstance(found, dict):
        raise InputError(f"{type(found).__name__}; write one JSON object a line")
    fields = {k: v for k, v in found.items() if v is not None and (k, v) != ("id", "")}
    for name in ("text", "image", "video"):
        value = fields.get(name, "")
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(item, str) for item in values):
            raise InputError(f"{name} = {value!r:.80}; write a string or a list of strings")
        if name != "text" and name in fields and "" in values:
            raise InputError(f"{name} is empty; write a path, or leave it out")
    return fields


def _located(value: Any, folder: Path) -> Any:
    """Paths from the file's folder. A URL stays one, for the engine to say that it fetches none."""
    if isinstance(value, list):
        return [_located(item, folder) for item in value]
    if "://" in value or value.startswith("data:"):
        return value
    return folder / value
