"""Documents of a call before they are segments: what is known of them, and their content.

A document that was read before, by this process or another one, is recognised by its id or by its
unchanged files; then its entry may be in the cache, and its pixels need not be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from minireranker.errors import MinirerankerError, UnknownDocumentError

from .content import Content
from .guide import Guide
from .library import Seen
from .matching import Candidate
from .prompt import Side
from .reading import read_content, side_digest
from .shelf import READ_TOKENS
from .stamps import stamp_of
from .state import EngineState


class Intake:
    """Looks documents up in the library, reads the others, and writes down what was read."""

    def __init__(self, state: EngineState, header: bytes, guide: Guide) -> None:
        """``header``: digest of the header that documents stand behind."""
        self._state, self._header, self._guide = state, header, guide
        self._ranked: list[Candidate] = []
        """Documents that are to be ranked, in the order they will be read in."""
        self._places: dict[int, int] = {}
        """By a document's ``id()``."""

    def find(self, candidates: Iterable[Candidate]) -> None:
        """Look up what is known of documents: ids, and files that have not changed."""
        sound = [candidate for candidate in candidates if candidate.error is None]
        for candidate in sound:
            if not candidate.document.is_reference:
                candidate.is_visual = candidate.document.content.is_visual
                candidate.stamp = stamp_of(candidate.document.content)
        found = self._state.library.find(
            [candidate.document for candidate in sound],
            [candidate.stamp for candidate in sound],
            self._header,
        )
        for candidate, known in zip(sound, found, strict=True):
            candidate.known = known
            candidate.is_visual = known.is_visual if known else candidate.is_visual
        self._ranked = [candidate for candidate in sound if candidate.queries]
        self._places = {id(candidate): at for at, candidate in enumerate(self._ranked)}

    def is_kept(self, candidate: Candidate) -> bool:
        """Whether a document's entry is known and there."""
        key = candidate.known.key if candidate.known else None
        return key is not None and key in self._state.cache

    def read(self, candidate: Candidate) -> None:
        """Its pixels and texts, unless they have been read ahead. Raises like ``decode``.

        Where an embedder has to be asked about it, so it is about documents that come next: as many
        as fill a pass. What is wrong with one of those is in its ``error``.
        """
        if candidate.side is None:
            self.decode(candidate)
            self.prune([candidate, *self._next(candidate)])
        if candidate.error is not None:
            raise candidate.error

    def _next(self, candidate: Candidate) -> Iterator[Candidate]:
        """Documents behind it that will have to be read too, decoded."""
        tokens = self._unpruned(candidate)
        behind = self._places.get(id(candidate), len(self._ranked)) + 1
        for item in islice(self._ranked, behind, None):
            if not 0 < tokens < READ_TOKENS:
                return
            if not item.is_visual or item.side or item.error or self.is_kept(item):
                continue
            try:
                self.decode(item)
            except MinirerankerError as error:
                item.error = error
            tokens += self._unpruned(item)
            yield item

    def _unpruned(self, candidate: Candidate) -> int:
        """Visual tokens of a decoded document, if an embedder is to be asked about them."""
        reading = candidate.reading
        if reading is None or not self._guide.asks(self._content(candidate), reading):
            return 0
        return sum(visual.tokens for visual in reading.visuals)

    def decode(self, candidate: Candidate) -> None:
        """A found document's content, read now. Raises InputError and UnknownDocumentError."""
        if candidate.reading is None:
            content = self._content(candidate)
            candidate.reading = read_content(content, self._state.profile.limits)

    def prune(self, candidates: Sequence[Candidate]) -> None:
        """Choose the visual tokens of what has been decoded, of several at once where possible."""
        decoded = [
            (item, (self._content(item), item.reading)) for item in candidates if item.reading
        ]
        sides = self._guide.sides([pair for _, pair in decoded])
        for (candidate, _), side in zip(decoded, sides, strict=True):
            candidate.reading = None
            if isinstance(side, MinirerankerError):
                candidate.error = side
            else:
                self._take(candidate, side)

    def _take(self, candidate: Candidate, side: Side) -> None:
        document, known = candidate.document, candidate.known
        candidate.side = side
        if candidate.stamp is None and not document.is_reference:
            return
        digest = side_digest(side)
        if candidate.stamp is not None:
            candidate.digest = digest
        if document.is_reference and known is not None and digest != known.digest:
            candidate.error = UnknownDocumentError(
                f"the content of document {document.id!r} has changed since it was indexed; index "
                "it again"
            )

    def _content(self, candidate: Candidate) -> Content:
        document, known = candidate.document, candidate.known
        if not document.is_reference:
            return document.content
        if known is None:
            raise UnknownDocumentError(
                f"no document {document.id!r} was indexed under this model, profile, dtype, codec, "
                "keep ratio and embedder; index it, "
                "or pass the document itself"
            )
        return self._state.library.content_of(document, known)

    def remember(self, candidates: Sequence[Candidate]) -> None:
        """Note the files that were read, so that they need not be opened again."""
        self.note(
            Seen(item.document, item.digest, item.stamp, item.key, self._header)
            for item in candidates
            if item.digest is not None and item.error is None
        )

    def note(self, seen: Iterable[Seen]) -> None:
        """Write down what was read, and drop the entries that it replaces."""
        if items := list(seen):
            self._state.cache.delete(self._state.library.remember(items))
