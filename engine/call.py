"""One call's way from documents to scores: reading, prefixes, suffixes, pairs, each counted.

A call takes its documents in chunks, so that neither the pixels nor the entries of a long list are
held at once. Which side of a pair comes first is the table in the method, section 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from minireranker.cache import PrefixEntry
from minireranker.errors import InputError, MinirerankerError, NonFiniteScoreError

from .content import Content
from .matching import Asked, Candidate, Match, score_matches
from .packing import Packer
from .prompt import Segment
from .reading import read_side
from .shelf import Shelf
from .state import EngineState
from .work import Meter


class Call:
    """The stages of one call; ``meter`` counts them."""

    def __init__(self, state: EngineState, instruction: str | None) -> None:
        """``instruction=None``: the template's."""
        self._state, self._prompt = state, state.prompt
        self._instruction = instruction or state.profile.template.instruction
        self.meter = Meter()
        self._packer = Packer(state.model, state.pixel_mean, state.pixel_std, self.meter)
        self._shelves = {
            is_query: Shelf(state, self._packer, self._prompt.header(self._instruction, is_query))
            for is_query in (False, True)
        }

    @property
    def document_header(self) -> Segment:
        """The header in front of documents."""
        return self._shelves[False].header

    def ask(self, content: Content, index: int) -> Asked:
        """Read the call's query number ``index``. Raises InputError."""
        with self.meter.stage("inputs"):
            return Asked(index, read_side(content, self._state.profile), content.is_visual)

    def is_document_first(self, *, visual_query: bool, visual_document: bool) -> bool:
        """Whose segment comes first."""
        if self._state.profile.template.order == "query-first":
            return False
        return visual_document or not visual_query

    def chunks(self, candidates: Sequence[Candidate]) -> Iterator[Sequence[Candidate]]:
        """Documents enough to fill a batch of pairs of forty tokens."""
        step = max(16, self._state.batch_tokens // 40)
        for start in range(0, len(candidates), step):
            yield candidates[start : start + step]

    def run(self, candidates: Sequence[Candidate]) -> None:
        """Score a chunk of documents against their queries, or name what is wrong with them."""
        for candidate in candidates:
            if candidate.error is not None:
                continue
            try:
                with self.meter.stage("inputs"):
                    self._read(candidate)
                self._place(candidate)
            except MinirerankerError as error:
                candidate.error = error
        for shelf in self._shelves.values():
            shelf.flush()
        for first_is_query, shelf in self._shelves.items():
            matches = list(self._matches(candidates, first_is_query=first_is_query))
            for match, score in zip(
                matches,
                score_matches(self._state, self._packer, shelf.header, matches),
                strict=True,
            ):
                _record(match, score)

    def index(self, candidate: Candidate) -> None:
        """Read a document and ask for its entry, unless the template puts documents second."""
        with self.meter.stage("inputs"):
            self._read(candidate)
        if candidate.prefix is not None:
            return
        if self.is_document_first(visual_query=False, visual_document=candidate.is_visual):
            self._want_prefix(candidate)

    def flush(self) -> None:
        """Read what ``index`` has asked for."""
        self._shelves[False].flush()

    def _read(self, candidate: Candidate) -> None:
        """Its content; for a document indexed earlier only if its entry is gone."""
        document, library = candidate.document, self._state.library
        if document.is_reference:
            assert document.id is not None, "a reference has an id"
            candidate.key = library.key(document.id, self.document_header.digest())
            candidate.is_visual = library.is_visual(document.id)
            if candidate.key is not None and candidate.is_visual:
                candidate.prefix = self._state.cache.get(candidate.key, PrefixEntry)
            if candidate.prefix is not None:
                self.meter.count(cache_hits=1)
                return
            document = library.document(document.id)
        content = document.content
        candidate.is_visual = content.is_visual
        candidate.side = read_side(content, self._state.profile)

    def _place(self, candidate: Candidate) -> None:
        """Its segments, as its queries need them: first, second, or both."""
        orders = {self._document_first(candidate, query) for query in candidate.queries}
        if True in orders and candidate.prefix is None:
            self._want_prefix(candidate)
        if False in orders:
            assert candidate.side is not None, "only first segments come from the cache unread"
            candidate.second = self._prompt.second(candidate.side, is_query=False)
        candidate.side = None
        for query in candidate.queries:
            first = self._document_first(candidate, query)
            if first and query.second is None:
                query.second = self._prompt.second(query.side, is_query=True)
            elif not first and query.prefix is None:
                self._want_query_prefix(query)

    def _document_first(self, candidate: Candidate, query: Asked) -> bool:
        return self.is_document_first(
            visual_query=query.is_visual, visual_document=candidate.is_visual
        )

    def _want_prefix(self, candidate: Candidate) -> None:
        assert candidate.side is not None, "a document is read before its entry is wanted"
        segment = self._prompt.first(candidate.side, self._instruction, is_query=False)

        def deliver(entry: PrefixEntry) -> None:
            candidate.prefix = entry

        candidate.key = self._shelves[False].want(segment, deliver)

    def _want_query_prefix(self, query: Asked) -> None:
        segment = self._prompt.first(query.side, self._instruction, is_query=True)

        def deliver(entry: PrefixEntry) -> None:
            query.prefix = entry

        self._shelves[True].want(segment, deliver)
        self._shelves[True].flush()

    def _matches(self, candidates: Sequence[Candidate], *, first_is_query: bool) -> Iterator[Match]:
        """The pairs of one order that are not too long; the others get their error."""
        header = self._shelves[first_is_query].header
        for candidate in candidates:
            for query in candidate.queries if candidate.error is None else ():
                if self._document_first(candidate, query) is first_is_query:
                    continue
                front, back = (query, candidate) if first_is_query else (candidate, query)
                assert front.prefix is not None, "the shelves were flushed"
                assert back.second is not None, "the candidate was placed"
                try:
                    self._prompt.check_pair(len(header), front.prefix.tokens, len(back.second))
                except InputError as error:
                    candidate.errors[query.index] = error
                    continue
                yield Match(candidate, query, front.prefix, back.second, back.suffixes)


def _record(match: Match, score: float) -> None:
    if math.isfinite(score):
        match.candidate.scores[match.query.index] = score
        return
    match.candidate.errors[match.query.index] = NonFiniteScoreError(
        f"the model's score is {score}; check the checkpoint's weights, or use dtype='float32'"
    )
