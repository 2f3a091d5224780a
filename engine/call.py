"""One call's way from documents to scores: reading, prefixes, suffixes, pairs, each counted.

A call takes its documents in chunks, so that neither the pixels nor the entries of a long list are
held at once. Which side of a pair comes first is the table in the method, section 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from minireranker.cache import PrefixEntry
from minireranker.errors import InputError, MinirerankerError, NonFiniteScoreError

from .content import Content
from .draft import Segment
from .intake import Intake
from .matching import Asked, Candidate, Chunk, Match, score_matches
from .prefix import kept_visuals
from .reading import read_content
from .shelf import Shelf
from .state import EngineState
from .work import Meter

HELD_BYTES = 2**29
"""Pixels and entries a chunk may hold beside the cache; one document may exceed it alone."""

HELD_DOCUMENTS = 256


class Call:
    """The stages of one call; ``meter`` counts them, ``step`` is told of every one done."""

    def __init__(
        self,
        state: EngineState,
        instruction: str | None,
        step: Callable[[int], None] = lambda steps: None,
    ) -> None:
        """``instruction=None``: the template's. Raises TooLongError if it leaves no room."""
        self._state, self._prompt, self.step = state, state.prompt, step
        self._instruction = instruction or state.profile.template.instruction
        self.meter = Meter()
        self._packer = state.packer(self.meter)
        self._shelves = {
            is_query: Shelf(
                state,
                self._packer,
                self._prompt.header(self._instruction, is_query),
                durable=not is_query,
            )
            for is_query in (False, True)
        }
        self._guide = state.guide(self.meter)
        self.intake = Intake(state, self.document_header.digest(), self._guide)
        self._fetched = state.cache.prefetch((), PrefixEntry)

    @property
    def document_header(self) -> Segment:
        """The header in front of documents."""
        return self._shelves[False].header

    def ask(self, content: Content, index: int) -> Asked:
        """Read the call's query number ``index``. Raises what is wrong with it, and says whose."""
        with self.meter.stage("inputs"):
            try:
                return self._asked(content, index)
            except InputError as error:
                raise type(error)(f"query {index}: {error}") from error

    def _asked(self, content: Content, index: int) -> Asked:
        reading = read_content(content, self._state.profile.limits)
        side = self._guide.side(content, reading)
        query = Asked(index, content.is_visual, side)
        if self._state.profile.template.order == "query-first":
            query.first = self._prompt.first(side, self._instruction, is_query=True)
        else:
            query.second = self._prompt.second(side, is_query=True)
        return query

    def is_document_first(self, *, visual_query: bool, visual_document: bool) -> bool:
        """Whose segment comes first."""
        if self._state.profile.template.order == "query-first":
            return False
        return visual_document or not visual_query

    def run(self, candidates: Sequence[Candidate]) -> None:
        """Score documents against their queries, or name what is wrong with them."""
        self.intake.find(candidates)
        keys = [self._wanted_key(candidate) for candidate in candidates]
        wanted = [key for key in keys if key is not None]
        device = self._state.model.device
        with self._state.cache.prefetch(wanted, PrefixEntry, device) as self._fetched:
            self._run(candidates)

    def _run(self, candidates: Sequence[Candidate]) -> None:
        chunk = Chunk()
        for candidate in candidates:
            self._prepare(candidate)
            if chunk.add(candidate) >= HELD_BYTES or len(chunk.candidates) == HELD_DOCUMENTS:
                self._finish(chunk.candidates)
                chunk = Chunk()
        self._finish(chunk.candidates)

    def index(self, candidate: Candidate) -> None:
        """Read a found document and ask for its entry, or for what can be kept without one."""
        with self.meter.stage("inputs"):
            first = self.is_indexed_first(candidate)
            if first and self.intake.is_kept(candidate):
                self.meter.count(cache_hits=1)
                candidate.key = candidate.known.key if candidate.known else None
                # It may have been decoded since it was found, from a file that had changed by then.
                candidate.reading = candidate.side = None
            else:
                self.intake.read(candidate)
                if first:
                    self._want_prefix(candidate)
                    return
                assert candidate.side is not None, "it was just read"
                segment = self._prompt.second(candidate.side, is_query=False)
                with self.meter.stage("suffix"):
                    self._packer.keep_features(segment)
        candidate.arrived()
        self.step(1)

    def is_indexed_first(self, candidate: Candidate) -> bool:
        """Whether a document is indexed as a first segment, the order of text queries."""
        return self.is_document_first(visual_query=False, visual_document=candidate.is_visual)

    def flush(self) -> None:
        """Read what ``index`` has asked for."""
        self._shelves[False].flush()

    def _prepare(self, candidate: Candidate) -> None:
        """Read a document and ask for its segments, as its queries need them."""
        if candidate.error is None:
            try:
                with self.meter.stage("inputs"):
                    self._read(candidate)
                    self._place(candidate)
                return
            except MinirerankerError as error:
                candidate.error = error
        self.step(1 + len(candidate.queries))

    def _wanted_key(self, candidate: Candidate) -> str | None:
        """The key of an entry that will be needed, if it is known by now."""
        if candidate.known is None or True not in self._orders(candidate):
            return None
        return candidate.known.key

    def _read(self, candidate: Candidate) -> None:
        """Its entry if it is kept; its content where that is needed."""
        key = self._wanted_key(candidate)
        if key is not None:
            candidate.key, candidate.prefix = key, self._fetched.take(key)
        if candidate.prefix is not None:
            self.meter.count(cache_hits=1)
        if candidate.prefix is None or False in self._orders(candidate):
            self.intake.read(candidate)

    def _place(self, candidate: Candidate) -> None:
        """Its segments: first, second, or both."""
        orders = self._orders(candidate)
        if False in orders:
            assert candidate.side is not None, "a second segment is read"
            candidate.second = self._prompt.second(candidate.side, is_query=False)
        for query in candidate.queries:
            if not self._document_first(candidate, query):
                self._want_query_prefix(query)
        if True in orders and candidate.prefix is None:
            self._want_prefix(candidate)
        else:
            self.step(1)
        candidate.side = None

    def _orders(self, candidate: Candidate) -> set[bool]:
        """For which of its queries the document comes first: all, none, or both."""
        return {self._document_first(candidate, query) for query in candidate.queries}

    def _document_first(self, candidate: Candidate, query: Asked) -> bool:
        return self.is_document_first(
            visual_query=query.is_visual, visual_document=candidate.is_visual
        )

    def _want_prefix(self, candidate: Candidate) -> None:
        assert candidate.side is not None, "a document is read before its entry is wanted"
        segment = self._prompt.first(candidate.side, self._instruction, is_query=False)
        candidate.waiting = segment

        def deliver(entry: PrefixEntry) -> None:
            candidate.prefix, candidate.waiting = entry, None
            candidate.arrived()
            self.step(1)

        shelf = self._shelves[False]
        candidate.key = shelf.key(segment)
        shelf.want(segment, deliver)

    def _want_query_prefix(self, query: Asked) -> None:
        """Read the query as a first segment, once; what is wrong with it concerns it alone."""
        if query.prefix is not None or query.error is not None:
            return
        try:
            segment = query.first or self._prompt.first(
                query.side, self._instruction, is_query=True
            )
        except InputError as error:
            query.error = type(error)(f"query {query.index}: {error}")
            return

        def deliver(entry: PrefixEntry) -> None:
            query.prefix, query.first = entry, None

        self._shelves[True].want(segment, deliver)
        self._shelves[True].flush()

    def _finish(self, chunk: Sequence[Candidate]) -> None:
        """Score what has been prepared, and let go of it."""
        self._shelves[False].flush()
        for first_is_query, shelf in self._shelves.items():
            matches = list(self._matches(chunk, first_is_query=first_is_query))
            if first_is_query:
                # Pairs of one first segment side by side: documents' are by now, queries' are not.
                matches.sort(key=lambda match: match.query.index)
            scores = score_matches(self._state, self._packer, shelf.header, matches, self.step)
            for match, score in zip(matches, scores, strict=True):
                _record(match, score)
        self.intake.remember(chunk)
        for candidate in chunk:
            if candidate.prefix is not None:
                candidate.visuals = candidate.prefix.visuals
            elif candidate.second is not None:
                candidate.visuals = tuple(kept_visuals(candidate.second))
            candidate.release()

    def _matches(self, candidates: Sequence[Candidate], *, first_is_query: bool) -> Iterator[Match]:
        """The pairs of one order that can be scored; the others get their error."""
        header = self._shelves[first_is_query].header
        for candidate in candidates:
            for query in candidate.queries if candidate.error is None else ():
                if self._document_first(candidate, query) is first_is_query:
                    continue
                try:
                    yield self._match(candidate, query, len(header), first_is_query=first_is_query)
                except InputError as error:
                    candidate.errors[query.index] = error
                    self.step(1)

    def _match(
        self, candidate: Candidate, query: Asked, header: int, *, first_is_query: bool
    ) -> Match:
        if first_is_query and query.error is not None:
            raise query.error
        front, back = (query, candidate) if first_is_query else (candidate, query)
        assert front.prefix is not None, "the shelves were flushed"
        assert back.second is not None, "the candidate was placed"
        self._prompt.check_pair(header, front.prefix.tokens, len(back.second))
        return Match(candidate, query, front.prefix, back.second, back.suffixes)


def _record(match: Match, score: float) -> None:
    if math.isfinite(score):
        match.candidate.scores[match.query.index] = score
        return
    match.candidate.errors[match.query.index] = NonFiniteScoreError(
        f"the model's score is {score}; check the checkpoint's weights, or use dtype='float32'"
    )
