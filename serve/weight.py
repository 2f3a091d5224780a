"""What a document weighs before it is opened: bytes it holds, tokens it may have, work it is."""

from __future__ import annotations

from typing import Any

from minireranker.engine import Document
from minireranker.engine.content import DocumentId

__all__ = ["held_bytes", "likely_tokens", "work_of"]

_REFERENCE = 48
"""So little that ``round_documents`` of them fit ``round_tokens``: with rounds that are nearly
full a full queue takes one more."""
_PICTURE = 512
_VIDEO = 4_096
_LETTERS = 3
"""Characters of a token, on the low side."""


def likely_tokens(document: Any) -> int:
    """A guess, to cut rounds by: what is indexed costs little, pictures much."""
    if isinstance(document, DocumentId) or (
        isinstance(document, Document) and document.is_reference
    ):
        return _REFERENCE
    if isinstance(document, str):
        return 1 + len(document) // _LETTERS
    if not isinstance(document, Document):
        return _PICTURE
    content = document.content
    letters = sum(map(len, content.texts)) // _LETTERS
    return 1 + letters + _PICTURE * len(content.images) + _VIDEO * len(content.videos)


def work_of(tokens: int, documents: int, rows: int) -> int:
    """Of documents with so many likely tokens in all, read once and scored for ``rows`` queries.

    In tokens too: a pair of what has been read is about as much as an indexed document weighs.
    """
    return tokens + _REFERENCE * documents * rows


def held_bytes(document: Any) -> int:
    """Of text and encoded media a document or query keeps in memory while it waits."""
    if isinstance(document, str):
        return len(document)
    if isinstance(document, bytes | bytearray):
        return len(document)
    if isinstance(document, list | tuple):
        return sum(map(held_bytes, document))
    content = getattr(document, "content", None)
    if content is None:
        return int(getattr(document, "nbytes", 0))
    return sum(map(held_bytes, (*content.texts, *content.images, *content.videos)))
