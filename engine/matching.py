"""Queries and documents of a call as pairs: states below the band first, then the pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from minireranker.cache import KeptTokens, PrefixEntry, SuffixEntry
from minireranker.errors import MinirerankerError

from .content import Document
from .draft import Segment
from .library import Known
from .packing import Packer
from .passes import passes
from .prefix import Header
from .prompt import Side
from .reading import Reading
from .scoring import Pair, score_pairs
from .state import EngineState
from .suffix import read_suffixes


@dataclass(eq=False)
class Asked:
    """A query of a call, read, and what has been computed of it."""

    index: int
    is_visual: bool
    side: Side
    first: Segment | None = None
    """Until its entry is there."""
    prefix: PrefixEntry | None = None
    second: Segment | None = None
    error: MinirerankerError | None = None
    """Why it cannot be a first segment."""
    suffixes: dict[int, SuffixEntry] = field(default_factory=dict)
    """States below the band, by the position they start at."""


@dataclass(eq=False)
class Candidate:
    """A document of a call, the queries it is for, and what became of it."""

    document: Document
    queries: list[Asked] = field(default_factory=list)
    is_visual: bool = False
    reading: Reading | None = None
    """Its content, decoded, before it is pruned."""
    side: Side | None = None
    known: Known | None = None
    """What the library has of it, if it need not be read."""
    stamp: str | None = None
    """Of its files, before they were read."""
    digest: str | None = None
    """Of its content, once read."""
    key: str | None = None
    """Of its entry as a first segment, once known."""
    waiting: Segment | None = None
    """The first segment, until its entry is there."""
    prefix: PrefixEntry | None = None
    second: Segment | None = None
    suffixes: dict[int, SuffixEntry] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    """By the query's index."""
    visuals: tuple[KeptTokens, ...] = ()
    """Which visual tokens it was scored by."""
    errors: dict[int, MinirerankerError] = field(default_factory=dict)
    """Likewise: pairs that could not be scored."""
    error: MinirerankerError | None = None
    """Why the document could not be read."""
    arrived: Callable[[], None] = lambda: None
    """Called once what is kept of the document is there."""

    @property
    def held(self) -> int:
        """Bytes of pixels and K/V it keeps alive, now or as soon as it is read."""
        segments = [item for item in (self.waiting, self.second) if item is not None]
        pixels = sum(visual.frames.nbytes for item in segments for visual in item.visuals)
        return pixels + (self.prefix.nbytes if self.prefix is not None else 0)

    def release(self) -> None:
        """Let go of everything but the outcome."""
        self.reading = self.side = self.waiting = self.prefix = self.second = None
        self.suffixes = {}


@dataclass(eq=False)
class Chunk:
    """Candidates whose pixels and entries are held at the same time."""

    candidates: list[Candidate] = field(default_factory=list)
    _held: int = 0
    _unread: list[Candidate] = field(default_factory=list)

    def add(self, candidate: Candidate) -> int:
        """Bytes held by all, with this one."""
        self.candidates.append(candidate)
        self._unread.append(candidate)
        # What has been read does not change any more: counted once, however long the chunk.
        self._held += sum(item.held for item in self._unread if item.waiting is None)
        self._unread = [item for item in self._unread if item.waiting is not None]
        return self._held + sum(item.held for item in self._unread)


@dataclass(frozen=True, eq=False)
class Match:
    """A pair: the first segment's entry, the second segment, and where its states are kept."""

    candidate: Candidate
    query: Asked
    prefix: PrefixEntry
    second: Segment
    suffixes: dict[int, SuffixEntry]


def score_matches(
    state: EngineState,
    packer: Packer,
    header_segment: Segment,
    matches: Sequence[Match],
    step: Callable[[int], None],
) -> list[float]:
    """Raw logit differences of pairs behind one header, in order.

    ``step`` is told how many pairs each batch has scored.
    """
    if not matches:
        return []
    meter = packer.meter
    with meter.stage("prefix"):
        header = state.header(header_segment, packer)
    with meter.stage("suffix"):
        _read_states(state, packer, header_segment, header, matches)
    pairs = [Pair(m.prefix, m.suffixes[header.span + m.prefix.span]) for m in matches]
    with meter.stage("pairs"):
        scores = score_pairs(
            state.model,
            header,
            pairs,
            state.band,
            batch_tokens=state.batch_tokens,
            backend=state.backend,
            meter=meter,
            step=step,
            graphs=state.graphs,
        )
    out: list[float] = scores.tolist()
    return out


def _read_states(
    state: EngineState,
    packer: Packer,
    header_segment: Segment,
    header: Header,
    matches: Sequence[Match],
) -> None:
    """States below the band that no earlier pair of the call, nor the cache, has.

    Documents' states are kept in the cache's memory; a query's live as long as its call.
    """
    missing: dict[tuple[int, int], tuple[Match, str | None]] = {}
    for match in matches:
        start = header.span + match.prefix.span
        if start in match.suffixes or (id(match.suffixes), start) in missing:
            continue
        key = None
        # Below no layer there is nothing to keep but features, which have entries of their own.
        if state.band.meeting_layer > 0 and match.suffixes is match.candidate.suffixes:
            key = state.suffix_key(header_segment, match.second, start)
            found = state.cache.get(key, SuffixEntry, state.model.device)
            packer.meter.count(**{"cache_misses" if found is None else "cache_hits": 1})
            if found is not None:
                match.suffixes[start] = found
                continue
        missing[id(match.suffixes), start] = match, key
    _read_missing(state, packer, header, missing)


def _read_missing(
    state: EngineState,
    packer: Packer,
    header: Header,
    missing: dict[tuple[int, int], tuple[Match, str | None]],
) -> None:
    for batch in passes(missing.items(), lambda item: len(item[1][0].second), state.batch_tokens):
        entries = read_suffixes(
            packer,
            header,
            [match.second for _, (match, _) in batch],
            [start for (_, start), _ in batch],
            state.band.meeting_layer,
            state.backend,
        )
        for ((_, start), (match, key)), entry in zip(batch, entries, strict=True):
            match.suffixes[start] = entry
            if key is not None:
                # Not durable: it is one for each length of query, and its features are kept.
                state.cache.put(key, entry, durable=False)
