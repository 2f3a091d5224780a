"""What ``index`` has seen: ids, and enough of each document to find or rebuild its entry."""

from __future__ import annotations

import os
import threading

from minireranker.errors import UnknownDocumentError

from .content import Document, DocumentId


class Library:
    """Documents by id. Pixels handed in as objects are not kept alive: paths and text are."""

    def __init__(self) -> None:
        """Empty."""
        self._documents: dict[str, Document | None] = {}
        self._visual: set[str] = set()
        self._keys: dict[tuple[str, bytes], str] = {}
        self._lock = threading.Lock()

    def add(
        self, identity: str, document: Document, *, header: bytes, key: str | None
    ) -> DocumentId:
        """Remember a document; ``key`` is its entry under the header of that digest."""
        with self._lock:
            self._documents[identity] = document if _is_light(document) or key is None else None
            (self._visual.add if document.content.is_visual else self._visual.discard)(identity)
            if key is not None:
                self._keys[identity, header] = key
        return DocumentId(identity)

    def add_key(self, identity: str, header: bytes, key: str) -> None:
        """Remember an entry under one more header."""
        self._keys[identity, header] = key

    def key(self, identity: str, header: bytes) -> str | None:
        """The cache key of an id's entry under that header, if it was indexed under it."""
        return self._keys.get((identity, header))

    def is_visual(self, identity: str) -> bool:
        """Whether an indexed document has an image or a video."""
        return identity in self._visual

    def document(self, identity: str) -> Document:
        """What was indexed under ``identity``, to be read again.

        Raises UnknownDocumentError for an id never indexed, or if only its pixels were given.
        """
        if identity not in self._documents:
            raise UnknownDocumentError(
                f"no document {identity!r} was indexed by this Reranker; index it, or pass the "
                "document itself"
            )
        document = self._documents[identity]
        if document is None:
            raise UnknownDocumentError(
                f"the cache no longer holds document {identity!r} (or not under this instruction) "
                "and its pixels were not kept; pass the document itself, index it again, or give "
                "the cache more bytes"
            )
        return document

    def __contains__(self, identity: str) -> bool:
        """Whether ``identity`` was indexed."""
        return identity in self._documents

    def __len__(self) -> int:
        """Documents indexed."""
        return len(self._documents)


def _is_light(document: Document) -> bool:
    """Whether keeping it costs next to nothing: text and paths, no pixels."""
    content = document.content
    sources = [*content.images, *(s for v in content.videos for s in _frames(v))]
    return all(isinstance(source, str | os.PathLike) for source in sources)


def _frames(video: object) -> tuple[object, ...]:
    return tuple(video) if isinstance(video, list | tuple) else (video,)
