"""Judgments (qrels) and candidate lists (runs): files of ids, in the formats that are in use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .content import identifier
from .lines import Line, read_lines

__all__ = ["Listing", "Place", "read_candidates", "read_qrels"]

Place = tuple[Path, int]
"""A file and the number of a line in it."""

_QUERY_NAMES = ("query-id", "query_id", "qid")
_DOCUMENT_NAMES = ("corpus-id", "corpus_id", "docid", "doc_id", "did")
_HEADERS = {*_QUERY_NAMES, "query", "queryid", "topic"}
_LIST_NAMES = ("corpus-ids", "corpus_ids", "candidates", "documents", "results")


@dataclass(eq=False)
class Listing:
    """Of each query its documents, each with a number, and where both were first named."""

    numbers: dict[str, dict[str, float]] = field(default_factory=dict)
    """A grade, or what candidates are ordered by (higher first)."""
    queries: dict[str, Place] = field(default_factory=dict)
    documents: dict[str, Place] = field(default_factory=dict)
    scored: set[str] = field(default_factory=set)
    """Queries whose candidates came with scores."""

    def add(self, query: str, document: str, number: float, line: Line) -> None:
        """Take over a row. Raises InputError where it contradicts an earlier one."""
        if not math.isfinite(number):
            raise line.wrong(f"{number} for document {document!r}; write a finite number")
        known = self.numbers.setdefault(query, {})
        if known.setdefault(document, number) != number:
            raise line.wrong(
                f"document {document!r} of query {query!r} has {number:g} here and "
                f"{known[document]:g} before; leave one of the two"
            )
        place = line.path, line.number
        self.queries.setdefault(query, place)
        self.documents.setdefault(document, place)

    def ordered(self) -> dict[str, list[str]]:
        """Of each query its documents by number, highest first; ties as they came."""
        return {
            query: sorted(found, key=lambda name: -found[name])
            for query, found in self.numbers.items()
        }


def read_qrels(path: Path) -> Listing:
    """BEIR's three columns (query, document, grade; a header or none), TREC's four (the second
    unused), or JSONL with ``query-id``, ``corpus-id``, ``score``. Raises InputError."""
    listing = Listing()
    for line, row in _rows(path):
        if isinstance(row, list):
            if len(row) not in (3, 4):
                raise line.wrong(
                    f"{len(row)} columns; a judgment is query, document, grade, or TREC's query, "
                    "0, document, grade"
                )
            listing.add(row[0], row[-2], _number(row[-1], line), line)
        else:
            query = identifier(row, _QUERY_NAMES, line)
            document = identifier(row, _DOCUMENT_NAMES, line)
            listing.add(query, document, _number(row.get("score"), line), line)
    return listing


def read_candidates(path: Path) -> Listing:
    """What a retriever found: the highest score first, or as listed where there are no scores.

    TREC's run of six columns (query, Q0, document, rank, score, tag); two or three columns (query,
    document, a score or none); JSONL with a query's id and ``candidates`` or ``corpus-ids``, a list
    of ids or an object of scores. Raises InputError.
    """
    listing = Listing()
    for line, row in _rows(path):
        if isinstance(row, list):
            query, document, score = _run_row(row, line)
            _list(listing, query, document, score, line)
        else:
            query = identifier(row, (*_QUERY_NAMES, "_id", "id"), line)
            for document, score in _listed(row, line):
                _list(listing, query, document, score, line)
    return listing


def _list(listing: Listing, query: str, document: str, score: float | None, line: Line) -> None:
    known = listing.numbers.get(query, {})
    if document in known:
        raise line.wrong(f"document {document!r} is listed twice for query {query!r}; leave one")
    if known and (query in listing.scored) != (score is not None):
        raise line.wrong(
            f"of query {query!r} some candidates have a score and some have none; write one for "
            "each, or for none"
        )
    if score is not None:
        listing.scored.add(query)
    # The place in all of the file: a query may have several lines.
    listing.add(query, document, -float(len(known)) if score is None else score, line)


def _rows(path: Path) -> Iterator[tuple[Line, list[str] | dict[str, Any]]]:
    """Lines as objects or columns, without a header: a first line whose first column is a name."""
    for at, line in enumerate(read_lines(path)):
        if line.text.lstrip().startswith("{"):
            yield line, line.record()
            continue
        columns = line.fields()
        if at or columns[0].lower() not in _HEADERS:
            yield line, columns
        elif len(columns) == 3 and columns[2].lower() == "rank":
            raise line.wrong("ranks; write scores, the highest first, or leave the column out")


def _run_row(row: list[str], line: Line) -> tuple[str, str, float | None]:
    if len(row) == 6:
        return row[0], row[2], _number(row[4], line)
    if len(row) in (2, 3):
        return row[0], row[1], _number(row[2], line) if len(row) == 3 else None
    raise line.wrong(
        f"{len(row)} columns; a candidate is query, document and perhaps score, or TREC's query, "
        "Q0, document, rank, score, tag"
    )


def _listed(row: Mapping[str, Any], line: Line) -> Iterator[tuple[str, float | None]]:
    found = next((row[name] for name in _LIST_NAMES if name in row), None)
    if isinstance(found, dict):
        for name, score in found.items():
            yield identifier({"id": name}, ("id",), line), _number(score, line)
    elif isinstance(found, list):
        for item in found:
            yield identifier({"id": item}, ("id",), line), None
    else:
        raise line.wrong('no candidates; write {"query-id": "...", "candidates": ["...", "..."]}')


def _number(value: Any, line: Line) -> float:
    try:
        if isinstance(value, str | int | float):
            return float(value)
    except ValueError:
        pass
    raise line.wrong(f"{value!r:.80} is no number; write one")
