"""Pages of PDFs, found again by what an index keeps of them, when the reranker has no entry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minireranker.engine.content import Document
from minireranker.errors import UnknownDocumentError
from minireranker.retrieval.sources import DocumentSource

from .sources_pdf import Page

if TYPE_CHECKING:
    from minireranker.retrieval.vector_index import VectorIndex

__all__ = ["IndexedPages"]

_PAGE = re.compile(r"#page=([1-9][0-9]*)\Z")


class IndexedPages(Mapping[str, Document]):
    """Documents by the ids that ``index`` gave them; only those that are pages."""

    def __init__(self, indexes: Sequence[VectorIndex], max_pixels: int) -> None:
        """``max_pixels``: what a page is rendered in."""
        self._indexes, self._max_pixels = indexes, max_pixels

    def __getitem__(self, name: str) -> Document:
        """The page, rendered when it is read."""
        found = _PAGE.search(name)
        for index in self._indexes if found else ():
            try:
                source = DocumentSource.from_json(index.source(name))
            except UnknownDocumentError:
                continue
            if source.file is not None and source.detail is not None:
                assert found is not None, "else no index is looked into"
                return Document(image=Page(Path(source.file), int(found[1]), self._max_pixels))
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        """Their ids."""
        names = dict.fromkeys(name for index in self._indexes for name in index.ids)
        return (name for name in names if name in self)

    def __len__(self) -> int:
        """How many there are; looks at every document."""
        return sum(1 for _ in self)
