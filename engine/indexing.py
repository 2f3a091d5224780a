"""Reading documents ahead of any query: entries into the cache, ids into the library."""

from __future__ import annotations

import logging
from typing import Any

from minireranker.errors import MinirerankerError

from .call import Call
from .content import Document, DocumentId
from .lists import name_of
from .matching import Candidate
from .reading import side_digest
from .state import EngineState
from .types import FailedDocument, Indexed

_LOG = logging.getLogger(__name__)


class Indexing:
    """One ``index`` call. A document gets its id once what is kept of it has been computed."""

    def __init__(self, call: Call, state: EngineState) -> None:
        """``call`` does the reading and counts it."""
        self._call, self._state = call, state
        self._ids: list[DocumentId | None] = []
        self._keys: set[str] = set()
        self._failed: list[FailedDocument] = []

    def add(self, original: Any) -> None:
        """Take one more document, whatever the caller passed for it."""
        index = len(self._ids)
        self._ids.append(None)
        try:
            candidate = Candidate(Document.of(original))
            candidate.arrived = lambda: self._arrived(index, candidate)
            self._call.index(candidate)
        except MinirerankerError as error:
            self._failed.append(FailedDocument(index, name_of(original), error, original))
            self._call.step(1)

    def finish(self) -> Indexed:
        """Read what is still waiting; the answer."""
        self._call.flush()
        lost = sum(key not in self._state.cache for key in self._keys)
        if lost:
            _LOG.warning(
                "%d of %d entries did not stay in the cache of %d bytes: those documents are read "
                "again when ranked, or are lost if only their pixels were given. Give it more "
                "bytes: MemoryCache(max_bytes)",
                lost,
                len(self._keys),
                self._state.cache.max_bytes,
            )
        meter = self._call.meter
        return Indexed(tuple(self._ids), tuple(self._failed), meter.timings, meter.work)

    def _arrived(self, index: int, candidate: Candidate) -> None:
        library, header = self._state.library, self._call.document_header.digest()
        document, key = candidate.document, candidate.key
        if key is not None:
            self._keys.add(key)
        if document.is_reference:
            assert document.id is not None, "a reference has an id"
            identity = document.id
            if key is not None:
                library.add_key(identity, header, key)
        else:
            assert candidate.side is not None, "it was read"
            digest = side_digest(candidate.side)
            identity = document.id if document.id is not None else digest
            library.add(identity, document, digest, header, key)
        self._ids[index] = DocumentId(identity)
        candidate.release()
