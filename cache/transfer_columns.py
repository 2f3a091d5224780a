"""What a row of the catalog has to be to be taken over from somebody's archive."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from .key import KEY_PATTERN

__all__ = ["COLUMNS", "Row", "is_sound", "parsed", "without_files"]

Row: TypeAlias = dict[str, Any]
"""Columns by name, and the name of the ``table``."""

_HEX = re.compile(r"[0-9a-f]{1,128}")
_NAME = re.compile(r"[0-9a-f]{32}")


def parsed(line: bytes) -> Row | None:
    """The object a line holds, if it holds one."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def is_sound(row: Row) -> bool:
    """Whether it has the columns of its table, no others, and in each what belongs there."""
    table = row.get("table")
    checks = COLUMNS.get(table) if isinstance(table, str) else None
    if checks is None or row.keys() != checks.keys() | {"table"}:
        return False
    if not all(check(row[column]) for column, check in checks.items()):
        return False
    return table != "contents" or row["key"].startswith(row["namespace"])


def _is_text(value: object) -> bool:
    """Text that can be stored: a lone surrogate cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_document(value: object) -> bool:
    """JSON as the engine writes it: whether a document is visual; its texts and files, or null."""
    row = parsed(value.encode()) if isinstance(value, str) and _is_text(value) else None
    if row is None or row.keys() != {"visual", "content"} or type(row["visual"]) is not bool:
        return False
    content = row["content"]
    if content is None:
        return True
    lists = ("texts", "images", "videos", "importances")
    if not isinstance(content, dict) or content.keys() != set(lists):
        return False
    if not all(isinstance(content[name], list) for name in lists):
        return False
    return all(isinstance(text, str) for text in content["texts"])


def without_files(document: str) -> str:
    """A document's JSON without paths: on another machine they lead to something else, or nowhere.

    What is text alone stays; the pixels of others are not read again from here.
    """
    row = json.loads(document)
    content = row["content"]
    if content is not None and (content["images"] or content["videos"]):
        row["content"] = None
    return json.dumps(row)


def _matches(pattern: re.Pattern[str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


COLUMNS: Mapping[str, Mapping[str, Callable[[object], bool]]] = {
    "namespaces": {"name": _matches(_NAME), "tenant": _is_text, "label": _is_text},
    "contents": {
        "namespace": _matches(_NAME),
        "digest": _matches(_HEX),
        "header": _matches(_HEX),
        "key": _matches(KEY_PATTERN),
    },
    "documents": {
        "namespace": _matches(_NAME),
        "id": _is_text,
        "digest": _matches(_HEX),
        "document": _is_document,
    },
}
"""Every table that travels: its columns, and what may be in them."""
