"""Documents from a JSONL file: one JSON object a line with text, image, video, id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minireranker.engine.content import Document
from minireranker.errors import InputError

__all__ = ["read_jsonl"]


def read_jsonl(path: Path, label: str) -> Iterator[Document]:
    """One Document a line that is not blank; its id is the line's, or ``label#line=N`` from 1.

    Paths of images and videos are relative to the file's folder. Raises InputError naming file
    and line for what is not such an object.
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _document(line, path, number, label)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}; a JSONL file is readable UTF-8") from error


def _document(line: str, path: Path, number: int, label: str) -> Document:
    where = f"{path}, line {number}"
    try:
        fields = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error}); write one object a line") from error
    if not isinstance(fields, dict):
        raise InputError(f"{where}: {type(fields).__name__}; write one JSON object a line")
    known = Document.__dataclass_fields__
    if unknown := sorted(set(fields) - set(known)):
        raise InputError(f"{where}: unknown field(s) {unknown}; a document has {', '.join(known)}")
    if all(fields.get(name) is None for name in ("text", "image", "video")):
        raise InputError(f"{where}: nothing to rank; give it a text, an image or a video")
    _check_strings(fields, where)
    for name in ("image", "video"):
        fields[name] = _resolved(fields.get(name), path.parent)
    return Document(**{**fields, "id": fields.get("id") or f"{label}#line={number}"})


def _check_strings(fields: dict[str, Any], where: str) -> None:
    for name in ("text", "image", "video"):
        value = fields.get(name)
        values = value if isinstance(value, list) else [value]
        if not values or (value is not None and not all(isinstance(v, str) for v in values)):
            raise InputError(f"{where}: {name} = {value!r}; write a string or a list of strings")
    if not isinstance(fields.get("id"), str | None):
        raise InputError(f"{where}: id = {fields['id']!r}; write a string")


def _resolved(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [folder / item for item in value]
    return None if value is None else folder / value
