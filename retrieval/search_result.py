"""The answer of a search: what was found, and what every stage on the way to it saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from minireranker.engine.types import FailedDocument, Work


@dataclass(frozen=True)
class Hit:
    """One document that all stages let through."""

    rank: int
    """From 1."""
    id: str
    scores: Mapping[str, float]
    """By the name of the stage, in their order; comparable within a stage only."""
    probability: float | None = None
    """Sigmoid of the reranker's score; None where no reranker saw it."""
    source: dict[str, Any] | None = field(default=None, repr=False)
    """The JSON object the index keeps of the document; None where it keeps none."""

    @property
    def score(self) -> float:
        """That of the last stage, by which hits are in order."""
        return list(self.scores.values())[-1]


@dataclass(frozen=True, eq=False)
class StageRecord:
    """What one stage did for one query.

    Seconds and work are those of the whole call: queries of one call share them.
    """

    name: str
    """ "retrieve", "rescore" or "rerank"; with a number behind it where there are several."""
    system: str
    """The encoder's kind, or "reranker"."""
    candidates: int
    """Documents that came in: those of the stage before, or all of the index."""
    kept: int
    """Documents that went on."""
    ids: NDArray[np.object_]
    """Of every document that has a score, best first. A Retrieve stage has those of its top_k."""
    scores: NDArray[np.float32]
    """Theirs."""
    failed: tuple[FailedDocument, ...] = ()
    """Candidates without a score: unknown here, or not to be read. They go no further."""
    encode_seconds: float = 0.0
    """Of encoding queries; 0 where an earlier stage has done it with the same encoder."""
    search_seconds: float = 0.0
    """Of searching, scoring or reranking."""
    work: Work = field(default_factory=Work)
    """The reranker's, of the whole call: its cache misses had to be read. Nothing elsewhere."""

    @property
    def seconds(self) -> float:
        """Both."""
        return self.encode_seconds + self.search_seconds


@dataclass(frozen=True, eq=False)
class SearchResult(Sequence[Hit]):
    """The answer of ``Cascade.search``: hits, best first."""

    hits: tuple[Hit, ...]
    stages: tuple[StageRecord, ...]

    @property
    def failed(self) -> tuple[FailedDocument, ...]:
        """Documents that a stage could not score, and why; they are not among the hits.

        ``index`` is the document's place among that stage's candidates.
        """
        return tuple(each for stage in self.stages for each in stage.failed)

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)

    def __len__(self) -> int:
        """Hits."""
        return len(self.hits)

    @overload
    def __getitem__(self, at: int) -> Hit: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, at: int | slice) -> Hit | tuple[Hit, ...]:
        """The hit at a place, 0 is the best."""
        return self.hits[at]

    def __iter__(self) -> Iterator[Hit]:
        """Best first."""
        return iter(self.hits)
