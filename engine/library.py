"""What ``index`` has seen: ids, and enough of each document to find or rebuild its entry."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

from minireranker.configs import Profile
from minireranker.errors import UnknownDocumentError

from .content import Content, Document
from .prompt import Side
from .reading import read_side, side_digest


@dataclass(frozen=True, eq=False)
class Record:
    """One indexed document."""

    digest: str
    """Of its content as it was when indexed."""
    is_visual: bool
    document: Document | None
    """To be read again; None where only pixels were given."""
    keys: dict[bytes, str] = field(default_factory=dict)
    """Cache keys of its entries, by the digest of the header they stand behind."""


class Library:
    """Documents by id.

    Paths and text are kept. Pixels handed in as objects are not, unless the template puts
    documents second: then there is no entry that could stand for them.
    """

    def __init__(self) -> None:
        """Empty."""
        self._records: dict[str, Record] = {}
        self._lock = threading.Lock()

    def add(
        self, identity: str, document: Document, digest: str, header: bytes, key: str | None
    ) -> None:
        """Remember a document; ``key`` is its entry under the header of that digest.

        Other content under the same id replaces what was known of it, entries under other headers
        too.
        """
        content = document.content
        kept = document if key is None or _is_light(content) else None
        with self._lock:
            known = self._records.get(identity)
            keys = {}
            if known is not None and known.digest == digest:
                keys, kept = dict(known.keys), kept or known.document
            if key is not None:
                keys[header] = key
            self._records[identity] = Record(digest, content.is_visual, kept, keys)

    def add_key(self, identity: str, header: bytes, key: str) -> None:
        """Remember an indexed document's entry under one more header."""
        with self._lock:
            self._record(identity).keys[header] = key

    def is_visual(self, identity: str) -> bool:
        """Whether an indexed document has an image or a video. Raises UnknownDocumentError."""
        return self._record(identity).is_visual

    def key(self, identity: str, header: bytes) -> str | None:
        """The cache key of an id's entry under that header, if it was indexed under it."""
        return self._record(identity).keys.get(header)

    def read_again(self, identity: str, profile: Profile) -> Side:
        """The content that was indexed under ``identity``.

        Raises UnknownDocumentError if only its pixels were given, or a file has changed since.
        """
        record = self._record(identity)
        if record.document is None:
            raise UnknownDocumentError(
                f"the cache no longer holds document {identity!r} (or not under this instruction) "
                "and its pixels were not kept; pass the document itself, index it again, or give "
                "the cache more bytes"
            )
        side = read_side(record.document.content, profile)
        if side_digest(side) != record.digest:
            raise UnknownDocumentError(
                f"the content of document {identity!r} has changed since it was indexed; index it "
                "again"
            )
        return side

    def _record(self, identity: str) -> Record:
        record = self._records.get(identity)
        if record is None:
            raise UnknownDocumentError(
                f"no document {identity!r} was indexed by this Reranker; index it, or pass the "
                "document itself"
            )
        return record


def _is_light(content: Content) -> bool:
    """Whether keeping it costs next to nothing: text and paths, no pixels."""
    sources = [*content.images, *(s for v in content.videos for s in _frames(v))]
    return all(isinstance(source, str | os.PathLike) or callable(source) for source in sources)


def _frames(video: object) -> tuple[object, ...]:
    return tuple(video) if isinstance(video, list | tuple) else (video,)
