"""A document about to be built: its id, and what tells later that it is still the same."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minireranker.engine.content import Content, Document
from minireranker.engine.given import name_of
from minireranker.engine.stamps import NOT_NUMBERS, is_file, sources_of, stamp_of
from minireranker.engine.types import FailedDocument
from minireranker.errors import InputError, MinirerankerError


@dataclass(eq=False)
class NamedDocument:
    """One of the call, and what became of it."""

    place: int
    original: Any
    document: Document
    """With its id, unless it has failed."""
    stamp: str | None = None
    """See ``stamp``."""
    key: str | None = None
    """Of the reranker's entry."""
    error: MinirerankerError | None = None

    @classmethod
    def of(cls, place: int, original: Any) -> NamedDocument:
        """Give it an id: its own, the absolute path of the one file it is, or a digest."""
        try:
            document = Document.of(original)
            if document.is_reference:
                raise InputError(
                    f"{document.id!r} is the id of a document; pass the document itself"
                )
            name = document.id if document.id is not None else _id_of(document.content)
            _check_id(name)
            return cls(place, original, dataclasses.replace(document, id=name))
        except MinirerankerError as error:
            return cls(place, original, Document(id=name_of(original)), error=error)

    @property
    def id(self) -> str:
        """Of a document that has not failed."""
        assert self.document.id is not None, "it was given one"
        return self.document.id

    @property
    def failure(self) -> FailedDocument | None:
        """If it has failed."""
        if self.error is None:
            return None
        return FailedDocument(self.place, self.document.id, self.error, self.original)

    def look(self) -> None:
        """Take the stamp, to be done before its files are read.

        Of files by size and times (see ``engine.stamps``), else of texts and pixels themselves.
        None where nothing can be trusted: then it is encoded again each time.
        """
        content = self.document.content
        if any(is_file(source) or callable(source) for source in sources_of(content)):
            self.stamp = stamp_of(content)
        else:
            self.stamp = _digest(content)


def _check_id(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the id {name!r} is no valid Unicode ({error.reason}); give it another"
        ) from error
    if not name:
        raise InputError("an empty id; leave it out, or give it one")


def _id_of(content: Content) -> str:
    sources = list(sources_of(content))
    if len(sources) == 1 and is_file(sources[0]) and not content.texts:
        # Bytes that are not UTF-8 become question marks, as in the labels of the command line.
        path = os.fsencode(os.path.abspath(os.fspath(sources[0])))
        return path.decode("utf-8", "replace")
    found = _digest(content)
    if found is None:
        raise InputError("nothing to name it by (a function, or damaged pixels); give it an id")
    return found


def _digest(content: Content) -> str | None:
    """Hex SHA-256 over texts, paths and pixels; None for functions and what cannot be read."""
    state = hashlib.sha256()
    try:
        for part in _parts(content):
            state.update(f"{len(part)};".encode())
            state.update(part)
    except (OSError, SyntaxError, *NOT_NUMBERS):  # what Pillow raises for a damaged image, too
        return None
    return state.hexdigest()


def _parts(content: Content) -> Iterator[bytes]:
    counts = [len(video) if isinstance(video, list | tuple) else 0 for video in content.videos]
    yield f"{len(content.texts)} texts, {len(content.images)} images, videos {counts}".encode()
    for text in content.texts:
        yield text.encode("utf-8", "surrogatepass")
    for source in sources_of(content):
        yield from _source_parts(source)
    for worth in content.importances:
        yield b"" if worth is None else np.asarray(worth, np.float64).tobytes()


def _source_parts(source: Any) -> Iterator[bytes]:
    if is_file(source):
        yield os.fsencode(os.path.abspath(os.fspath(source)))
    elif isinstance(source, bytes | bytearray):
        yield bytes(source)
    elif callable(source):
        raise TypeError("a function may give another picture another time")
    else:
        pixels = np.ascontiguousarray(np.asarray(source))
        if pixels.dtype == object:
            raise TypeError(f"{type(source).__name__} is no picture")
        yield f"{getattr(source, 'mode', '')}{pixels.shape}{pixels.dtype}".encode()
        yield pixels.tobytes()
