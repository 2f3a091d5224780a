"""What a caller passes, told apart: one or several, sound or not, before anything is read."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any

from minireranker.errors import ConfigurationError, InputError, NoDocumentsError

from .content import DocumentId, Query


def given_documents(documents: Iterable[Any]) -> list[Any]:
    """Several documents, or one. Raises NoDocumentsError if there is none, else InputError."""
    listed = given_candidates(documents)
    if not listed:
        raise NoDocumentsError("no documents were given; pass at least one")
    return listed


def given_candidates(documents: Iterable[Any]) -> list[Any]:
    """Several documents, one, or none. Raises InputError for what is no list."""
    if _is_one(documents):
        return [documents]
    if not isinstance(documents, Iterable):
        raise InputError(f"documents are {type(documents).__name__}; pass a list of documents")
    return list(documents)


def given_queries(queries: Any) -> list[Any]:
    """Several queries, or one."""
    is_several = isinstance(queries, Iterable) and not _is_one(queries)
    return list(queries) if is_several else [queries]


def check_instruction(instruction: Any) -> None:
    """Raise ConfigurationError for what is no sentence."""
    if not isinstance(instruction, str | None):
        raise ConfigurationError(f"instruction is {type(instruction).__name__}; pass a str")


def check_top_k(top_k: Any) -> None:
    """Raise ConfigurationError for what is no count."""
    try:
        count = 0 if top_k is None else operator.index(top_k)
    except TypeError:
        count = -1
    if count < 0:
        raise ConfigurationError(f"top_k = {top_k!r}: allowed is 0 or more, or None for all")


def name_of(original: Any) -> str | None:
    """A document's own id, if it can be told even though the document is not sound."""
    if isinstance(original, DocumentId):
        return str(original)
    found = original.get("id") if isinstance(original, dict) else getattr(original, "id", None)
    return found if isinstance(found, str) else None


def _is_one(value: Any) -> bool:
    """Whether it is one query or document and not several: a picture is an iterable of rows."""
    if isinstance(value, str | bytes | bytearray | Mapping | Query | os.PathLike):
        return True
    return hasattr(value, "__array_interface__") or hasattr(value, "convert")
