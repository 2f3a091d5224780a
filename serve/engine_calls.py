"""The only place that calls the engine: one round, for one or several requests.

Runs in the worker. Requests of a round share the tenant and the instruction; what is wrong
with one of them is its own error, also where the engine raises for the whole call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from minireranker.cache import PrefixEntry
from minireranker.engine.lists import score_lists
from minireranker.engine.results import score_rows
from minireranker.engine.types import KeptVisual
from minireranker.errors import MinirerankerError

from .jobs import Tokens
from .lengths import Lengths
from .parts import Part, PartAnswer, RoundAnswer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from minireranker.cache import CacheStats
    from minireranker.engine import Reranker
    from minireranker.engine.matching import Candidate
    from minireranker.engine.types import Timings, Work

__all__ = ["Calls"]


class Calls:
    """One model, for all tenants."""

    def __init__(self, reranker: Reranker) -> None:
        """Tenant "" is the reranker's own namespace."""
        self._tenants = {"": reranker}
        self._lengths = Lengths(reranker)

    def of(self, tenant: str) -> Reranker:
        """The reranker in a tenant's namespace."""
        if tenant not in self._tenants:
            self._tenants[tenant] = self._tenants[""].for_tenant(tenant)
        return self._tenants[tenant]

    @torch.inference_mode()
    def run(
        self, tenant: str, kind: str, instruction: str | None, parts: Sequence[Part]
    ) -> RoundAnswer:
        """One round. ``kind``: "rank" or "index"."""
        start = time.perf_counter()
        call = _Index if kind == "index" else _Rank
        answers = call(self.of(tenant), instruction).each(parts)
        return RoundAnswer(answers, time.perf_counter() - start, self.stats())

    def evict(self, tenant: str, ids: list[str]) -> int:
        """How many of a tenant's documents were known and are forgotten now."""
        return self.of(tenant).delete(ids)

    def overlong(self, query: str, texts: Sequence[str]) -> str | None:
        """Which text would be cut, in words; None if all fit whole. Raises InputError."""
        return self._lengths.overlong(query, texts)

    def stats(self) -> CacheStats:
        """Of the cache that all tenants share."""
        return self.of("").cache.stats

    def warm_up(self) -> float:
        """Rank a text and a picture once, leaving nothing in any tenant's way; seconds it took."""
        start = time.perf_counter()
        picture = np.zeros((64, 64, 3), np.uint8)
        self.of("").rank("warm-up", ["warm-up", picture], progress=False)
        return time.perf_counter() - start


class _Rank:
    """Scores the documents of each part for its queries, all in one call if that goes well."""

    def __init__(self, reranker: Reranker, instruction: str | None) -> None:
        self._state, self._instruction = reranker.state, instruction

    def each(self, parts: Sequence[Part]) -> list[PartAnswer | Exception]:
        try:
            return [*self._together(parts)]
        except Exception as error:
            if len(parts) == 1:
                return [error]
            return self._apart(parts)

    def _apart(self, parts: Sequence[Part]) -> list[PartAnswer | Exception]:
        """Whose query is at fault gets the error, the others go on; else each part by itself."""
        wrong = [self._query_error(part) for part in parts]
        sound = [part for part, error in zip(parts, wrong, strict=True) if error is None]
        if len(sound) == len(parts):
            return [answer for part in parts for answer in self.each([part])]
        rest = iter(self.each(sound) if sound else ())
        return [next(rest) if error is None else error for error in wrong]

    def _query_error(self, part: Part) -> Exception | None:
        try:
            self._score(part.queries, [()] * len(part.queries))
        except Exception as error:
            return error
        return None

    def _score(
        self, queries: Sequence[Any], lists: Sequence[Sequence[Any]]
    ) -> tuple[list[list[Candidate]], Timings, Work]:
        found, meter = score_lists(self._state, queries, lists, self._instruction, False)
        return found, meter.timings, meter.work

    def _together(self, parts: Sequence[Part]) -> Iterator[PartAnswer]:
        queries = [query for part in parts for query in part.queries]
        lists = [part.documents for part in parts for _ in part.queries]
        found, timings, work = self._score(queries, lists)
        rows = iter(enumerate(found))
        mine = [[next(rows) for _ in part.queries] for part in parts]
        computed, read = self._computed(work), [self._tokens(part[0][1]) for part in mine]
        pairs, stages = sum(map(len, lists)), _stages(timings)
        for part, numbered, tokens in zip(parts, mine, read, strict=True):
            fresh = computed[0] * tokens // max(sum(read), 1)
            share = len(part.documents) * len(part.queries) / max(pairs, 1)
            counted = Tokens(fresh + int(computed[1] * share), max(tokens - fresh, 0))
            yield self._answer(part, numbered, stages, counted)

    def _answer(
        self,
        part: Part,
        numbered: Sequence[tuple[int, list[Candidate]]],
        stages: dict[str, float],
        tokens: Tokens,
    ) -> PartAnswer:
        scores: list[NDArray[np.float32]] = []
        failed: list[tuple[int, int | None, MinirerankerError]] = []
        for own, (index, candidates) in enumerate(numbered):
            row, bad = score_rows(part.documents, candidates, index)
            scores.append(row)
            for one in bad:
                if one.query is not None:
                    failed.append((one.index, own, one.error))
                elif own == 0:  # wrong in itself: once is enough
                    failed.append((one.index, None, one.error))
        kept = tuple(map(_kept, numbered[0][1])) if part.want_kept else ()
        return PartAnswer(np.stack(scores), (), tuple(failed), kept, stages, tokens)

    def _computed(self, work: Work) -> tuple[int, int]:
        """Tokens of first segments that were read, and of pairs."""
        band = self._state.band
        pair_layers = max(band.exit_layer - band.meeting_layer, 1)
        read = work.prefix_token_layers // max(band.high, 1)
        return read, work.pair_token_layers // pair_layers

    def _tokens(self, candidates: Sequence[Candidate]) -> int:
        """Of the first segments of documents, as far as they are in memory."""
        memory = self._state.cache.memory
        entries = (memory.peek(one.key, PrefixEntry) for one in candidates if one.key is not None)
        return sum(entry.tokens for entry in entries if entry is not None)


class _Index:
    """Reads documents of all parts ahead of queries, in one call."""

    def __init__(self, reranker: Reranker, instruction: str | None) -> None:
        self._reranker, self._instruction = reranker, instruction

    def each(self, parts: Sequence[Part]) -> list[PartAnswer | Exception]:
        try:
            return [*self._together(parts)]
        except Exception as error:
            if len(parts) == 1:
                return [error]
            return [answer for part in parts for answer in self.each([part])]

    def _together(self, parts: Sequence[Part]) -> Iterator[PartAnswer]:
        documents = [document for part in parts for document in part.documents]
        done = self._reranker.index(documents, instruction=self._instruction, progress=False)
        read = done.work.prefix_token_layers // max(self._reranker.state.band.high, 1)
        start, stages = 0, _stages(done.timings)
        for part in parts:
            span = range(start, start + len(part.documents))
            start = span.stop
            names = done.ids[span.start : span.stop]
            ids = tuple(None if name is None else str(name) for name in names)
            bad = [one for one in done.failed if one.index in span]
            failed = tuple((one.index - span.start, None, one.error) for one in bad)
            tokens = Tokens(read * len(span) // max(len(documents), 1))
            yield PartAnswer(None, ids, failed, (), stages, tokens)


def _stages(timings: Timings) -> dict[str, float]:
    return {
        "inputs": timings.inputs + timings.embedder,
        "prefix": timings.prefix,
        "suffix": timings.suffix + timings.pairs,
    }


def _kept(candidate: Candidate) -> tuple[KeptVisual, ...]:
    return tuple(
        KeptVisual(visual.grid, visual.indices.cpu().numpy().astype(np.int64))
        for visual in candidate.visuals
    )
