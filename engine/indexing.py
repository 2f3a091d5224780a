"""Reading documents ahead of any query: entries into the cache, ids into the library."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from minireranker.errors import MinirerankerError

from .ahead import ahead
from .call import Call
from .content import Document, DocumentId
from .decoding import Decoding
from .given import name_of
from .library import Seen
from .matching import Candidate
from .reading import side_digest
from .shelf import READ_TOKENS
from .state import EngineState
from .tokenizer import require_unicode
from .types import FailedDocument, Indexed

_LOG = logging.getLogger(__name__)

GROUP = 256
"""Documents looked up at once."""

UNWRITTEN = 32
"""Documents whose ids a kill may lose; their entries stay."""


class Indexing:
    """One ``index`` call. A document gets its id once what is kept of it has been computed."""

    def __init__(self, call: Call, state: EngineState, originals: Sequence[Any]) -> None:
        """``call`` does the reading and counts it."""
        self._call, self._state, self._originals = call, state, originals
        self._ids: list[DocumentId | None] = [None] * len(originals)
        self._keys: list[str | None] = [None] * len(originals)
        self._failed: dict[int, FailedDocument] = {}
        self._seen: list[Seen] = []
        self._named: dict[str, int] = {}
        """Ids given so far, and to which of the originals."""
        self._decoding = Decoding()

    def run(self) -> Indexed:
        """Read every document, keep what there is to keep; the answer."""
        self._state.cache.register(self._state.namespace)
        try:
            for index, candidate in self._pruned(ahead(self._candidates(), self._decode)):
                self._add(index, candidate)
            self._call.flush()
        finally:
            # Also when interrupted: what has been read by now need not be read again.
            self._write()
            self._state.cache.flush()
        self._warn_of_lost()
        meter = self._call.meter
        failed = tuple(self._failed[index] for index in sorted(self._failed))
        return Indexed(tuple(self._ids), failed, meter.timings, meter.work, tuple(self._keys))

    def _candidates(self) -> Iterator[tuple[int, Candidate]]:
        """What each original is, and what is known of it."""
        numbered = iter(enumerate(self._originals))
        while group := list(islice(numbered, GROUP)):
            found = []
            for index, original in group:
                candidate = Candidate(Document(id=name_of(original)))
                try:
                    candidate.document = Document.of(original)
                    require_unicode(candidate.document.id or "")
                except MinirerankerError as error:
                    candidate.error = error
                found.append((index, candidate))
            self._call.intake.find([candidate for _, candidate in found])
            yield from found

    def _decode(self, numbered: tuple[int, Candidate]) -> None:
        """In another thread: its pixels, unless they will not be needed or are the caller's."""
        candidate, call = numbered[1], self._call
        if candidate.error is not None or candidate.document.is_reference:
            return
        guard = self._decoding.guard(candidate.document.content)
        if guard is None:
            return
        try:
            if not (call.is_indexed_first(candidate) and call.intake.is_kept(candidate)):
                with guard:
                    call.intake.decode(candidate)
        except MinirerankerError as error:
            candidate.error = error

    def _pruned(self, decoded: Iterable[tuple[int, Candidate]]) -> Iterator[tuple[int, Candidate]]:
        """The same, their visual tokens chosen: an embedder reads many documents in one pass."""
        group: list[tuple[int, Candidate]] = []
        tokens = 0
        for index, candidate in decoded:
            group.append((index, candidate))
            tokens += sum(v.tokens for v in candidate.reading.visuals) if candidate.reading else 0
            if tokens >= READ_TOKENS or len(group) == GROUP:
                self._call.intake.prune([item for _, item in group])
                yield from group
                group, tokens = [], 0
        self._call.intake.prune([item for _, item in group])
        yield from group

    def _add(self, index: int, candidate: Candidate) -> None:
        candidate.arrived = lambda: self._arrived(index, candidate)
        try:
            if candidate.error is not None:
                raise candidate.error
            self._call.index(candidate)
        except MinirerankerError as error:
            original = self._originals[index]
            self._failed[index] = FailedDocument(index, name_of(original), error, original)
            candidate.release()
            self._call.step(1)

    def _arrived(self, index: int, candidate: Candidate) -> None:
        document, known = candidate.document, candidate.known
        self._keys[index] = candidate.key
        if candidate.side is not None:
            digest = candidate.digest or side_digest(candidate.side)
        else:
            assert known is not None, "only known documents are not read"
            digest = known.digest
        identity = document.id if document.id is not None else digest
        self._ids[index] = DocumentId(identity)
        # Of an id, no new content is learnt: only its entry, if that stands behind a new header.
        # Of two documents of one id the later holds, though what is cached arrives first.
        is_latest = index >= self._named.get(identity, index)
        named = identity if is_latest and not document.is_reference else None
        if named is not None:
            self._named[named] = index
        header = self._call.document_header.digest()
        self._seen.append(Seen(document, digest, candidate.stamp, candidate.key, header, named))
        candidate.release()
        if len(self._seen) >= UNWRITTEN:
            self._write()

    def _write(self) -> None:
        seen, self._seen = self._seen, []
        self._call.intake.note(seen)

    def _warn_of_lost(self) -> None:
        keys = {key for key in self._keys if key is not None}
        lost = sum(key not in self._state.cache for key in keys)
        if lost:
            _LOG.warning(
                "%d of %d entries did not stay in the cache (%s): those documents are read again "
                "when ranked, or are lost if only their pixels were given. Give it more bytes: "
                "Cache(memory_bytes=...), or a folder with Cache(path, disk_bytes=...)",
                lost,
                len(keys),
                self._state.cache,
            )
