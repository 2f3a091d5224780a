"""What has been read: ids, and enough of each document to find its entry or to read it again."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minireranker.cache import Catalog, ContentRow, DocumentRow
from minireranker.errors import UnknownDocumentError

from .content import Content, Document
from .stamps import is_file, sources_of
from .written import content_from_json, content_to_json

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Known:
    """A document that need not be read, if its entry is still there."""

    digest: str
    """Of its content as it was when it was read."""
    is_visual: bool
    key: str | None
    """Of its entry behind the header asked about."""
    content: Content | None
    """To be read again; None where only pixels were given."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A document that was read, to be remembered."""

    document: Document
    digest: str
    stamp: str | None
    key: str | None
    """Of its entry behind ``header``, if it is a first segment."""
    header: bytes
    identity: str | None = None
    """Its id, if it gets one."""


@dataclass(eq=False)
class Library:
    """Documents by id and by their files, of one namespace.

    Paths and text are kept. Pixels handed in as objects are not, unless the template puts
    documents second: then there is no entry that could stand for them.
    """

    catalog: Catalog
    _live: dict[str, Content] = field(default_factory=dict)
    """By digest: contents that cannot be written down, as long as this process lives."""

    def find(
        self, documents: Sequence[Document], stamps: Sequence[str | None], header: bytes
    ) -> list[Known | None]:
        """What is known of documents that are ids, or whose files carry those stamps."""
        rows = self.catalog.documents([str(d.id) for d in documents if d.is_reference])
        sources = self.catalog.sources([stamp for stamp in stamps if stamp])
        digests = [row.digest for row in rows.values()] + [found for found, _ in sources.values()]
        keys = self.catalog.keys(digests, header.hex()) if digests else {}
        found: list[Known | None] = []
        for document, stamp in zip(documents, stamps, strict=True):
            row = rows.get(str(document.id)) if document.is_reference else None
            if row is not None:
                found.append(self._of_row(str(document.id), row, keys.get(row.digest)))
            elif stamp in sources:
                digest, visual = sources[stamp]
                found.append(Known(digest, visual, keys.get(digest), document.content))
            else:
                found.append(None)
        return found

    def remember(self, seen: Iterable[Seen]) -> list[str]:
        """Write down what was read; keys of entries that a new content under an old id orphaned."""
        items = list(seen)
        self.catalog.add_contents(
            ContentRow(
                item.digest,
                item.document.content.is_visual,
                (item.header.hex(), item.key) if item.key else None,
                item.stamp,
            )
            for item in items
        )
        named = {item.identity: item for item in items if item.identity is not None}
        before = self.catalog.documents(list(named))
        rows = {name: self._row(item, before.get(name)) for name, item in named.items()}
        self.catalog.add({name: row for name, row in rows.items() if before.get(name) != row})
        replaced = [r.digest for name, r in before.items() if r.digest != rows[name].digest]
        _warn_of_moved(before, rows)
        orphaned = self.catalog.remove_unused(replaced)
        self._let_go(replaced)
        return orphaned

    def content_of(self, document: Document, known: Known) -> Content:
        """Where a known document came from, to be read again.

        Raises UnknownDocumentError if only its pixels were given.
        """
        if known.content is None:
            raise UnknownDocumentError(
                f"the cache no longer holds document {document.id!r} (or not under this "
                "instruction) and its pixels were not kept; pass the document itself, index it "
                "again, or give the cache more bytes"
            )
        return known.content

    def delete(self, ids: Iterable[str]) -> tuple[int, list[str]]:
        """Forget documents: how many were known, and keys of entries nobody needs any more."""
        known = self.catalog.documents(list(ids))
        orphaned = self.catalog.remove(known)
        self._let_go([row.digest for row in known.values()])
        return len(known), orphaned

    def _let_go(self, digests: Sequence[str]) -> None:
        """Of contents in memory that no document has any more."""
        for digest in {*digests} - self.catalog.in_use(digests) if self._live else ():
            self._live.pop(digest, None)

    def _of_row(self, name: str, row: DocumentRow, key: str | None) -> Known | None:
        """What is known of an id; None where its row is damaged."""
        try:
            fields = json.loads(row.document)
            written = fields["content"]
            content = content_from_json(written) if written else self._live.get(row.digest)
            return Known(row.digest, bool(fields["visual"]), key, content)
        except (ValueError, LookupError, TypeError) as error:
            _LOG.warning("what is known of document %r is damaged (%s): index it", name, error)
            return None

    def _row(self, item: Seen, before: DocumentRow | None) -> DocumentRow:
        content = item.document.content
        written = content_to_json(content)
        if written is None and (item.key is None or _is_light(content)):
            self._live[item.digest] = content
        if written is None and before is not None and before.digest == item.digest:
            return before  # the same pixels, earlier given by their path
        fields: dict[str, Any] = {"visual": content.is_visual, "content": written}
        return DocumentRow(item.digest, json.dumps(fields))


def _warn_of_moved(before: Mapping[str, DocumentRow], rows: Mapping[str, DocumentRow]) -> None:
    """An id that comes to stand for another file is more often a mishap than meant."""
    moved = [(name, _files(row), _files(rows[name])) for name, row in before.items()]
    moved = [(name, old, new) for name, old, new in moved if old and new and old != new]
    if moved:
        name, old, new = moved[0]
        _LOG.warning(
            "%d ids stand for other files than before, the first %r for %s, no longer for %s; give "
            "each document an id of its own",
            len(moved),
            name,
            new,
            old,
        )


def _files(row: DocumentRow) -> list[Any]:
    content = json.loads(row.document).get("content") or {}
    return [*content.get("images", ()), *content.get("videos", ())]


def _is_light(content: Content) -> bool:
    """Whether keeping it costs next to nothing: text, paths and functions, no pixels."""
    return all(is_file(source) or callable(source) for source in sources_of(content))
