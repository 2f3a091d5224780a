"""Datasets in one JSONL file of labelled pairs, the form that training reads.

    {"query": "...", "document": {"image": "a.png"}, "label": 1, "instruction": "..."}
    {"query": {"image": "b.png"}, "positives": ["..."], "negatives": ["...", {"text": "..."}]}

A query or document is a text or an object with title, text, image, video, paths from the file's
folder, and perhaps an ``id``. The same content is the same document everywhere in the file, and
the same query where the instruction is the same too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minireranker.engine.content import Document, Query
from minireranker.errors import InputError

from .choosing import chosen
from .content import content_fields, identifier, made
from .dataset import Dataset
from .judgments import Listing
from .lines import Line, read_lines

__all__ = ["open_pairs"]


def open_pairs(path: Path) -> Dataset:
    """See ``open_dataset``. A row's instruction becomes its query's own."""
    queries, documents = _Side("q"), _Side("d")
    listing, instructions = Listing(), {}
    for line in read_lines(path):
        row = line.record()
        own = _instruction(row, line)
        query = queries.name(row.get("query"), own or "", line)
        if own is not None:
            instructions[query] = own
        for content, label in _labelled(row, line):
            listing.add(query, documents.name(content, "", line), label, line)
    if not listing.numbers:
        raise InputError(f"{path}: there is no pair in it; write one JSON object a line")
    found = {
        name: made(Document, {**fields, "id": name}, line)
        for name, (fields, line) in documents.rows.items()
    }
    return Dataset(
        path.stem,
        {name: made(Query, *queries.rows[name]) for name in listing.numbers},
        found,
        listing.numbers,
        chosen(listing.numbers, found),
        instructions,
        source=path,
    )


@dataclass(eq=False)
class _Side:
    """The distinct queries, or documents, of a file."""

    letter: str
    rows: dict[str, tuple[dict[str, Any], Line]] = field(default_factory=dict)
    """Content by id, and the line it came from."""
    _names: dict[str, str] = field(default_factory=dict)

    def name(self, value: Any, beside: str, line: Line) -> str:
        """The id of this content, together with what makes it another one."""
        if value is None:
            raise line.wrong("no query or document; write both, and a label")
        own = None
        if isinstance(value, dict) and value.get("id") is not None:
            own = identifier(value, ("id",), line)
        fields = content_fields(value, line)
        key = json.dumps([fields, beside, own], sort_keys=True, default=str)
        if key not in self._names:
            name = own or f"{self.letter}{len(self.rows) + 1}"
            if name in self.rows:
                raise line.wrong(f"{name!r} has another content before; give this one its own id")
            self.rows[name] = fields, line
            self._names[key] = name
        return self._names[key]


def _instruction(row: dict[str, Any], line: Line) -> str | None:
    found = row.get("instruction")
    if found is not None and not isinstance(found, str):
        raise line.wrong(f"instruction = {found!r:.80}; write a text, or leave it out")
    return found or None


def _labelled(row: dict[str, Any], line: Line) -> Iterator[tuple[Any, float]]:
    """The row's documents with their labels. Raises InputError."""
    if "document" in row:
        yield row["document"], _label(row.get("label"), line)
        return
    if "positives" not in row and "negatives" not in row:
        raise line.wrong("no document; write document and label, or positives and negatives")
    for name, label in (("positives", 1.0), ("negatives", 0.0)):
        listed = row.get(name, [])
        if not isinstance(listed, list):
            raise line.wrong(f"{name} = {listed!r:.80}; write a list")
        for content in listed:
            yield content, label


def _label(value: Any, line: Line) -> float:
    if isinstance(value, bool | int | float) and 0 <= value <= 1:
        return float(value)
    raise line.wrong(f"label = {value!r:.80}; write a number from 0 to 1, or true or false")
