"""What goes out: the records of a call's answer. Nothing here touches torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from minireranker.errors import MinirerankerError

from .content import DocumentId


@dataclass(frozen=True, eq=False)
class KeptVisual:
    """Which visual tokens of one image or video a document was scored by."""

    grid: tuple[int, int, int]
    """Frames, rows, columns of visual tokens before pruning."""
    indices: NDArray[np.int64]
    """Ascending, row-major in ``grid``; all of them where nothing was pruned."""


@dataclass(frozen=True)
class RankedDocument:
    """One document with its score, and where it stood in the call."""

    index: int
    id: str | None
    score: float
    """Raw logit difference ``(w_yes - w_no) . h``; ranks are by this."""
    probability: float
    """Sigmoid of the score."""
    document: Any = field(repr=False, compare=False)
    """What the caller passed."""
    visuals: tuple[KeptVisual, ...] = field(default=(), repr=False, compare=False)
    """Videos first, then images, in the document's order."""


@dataclass(frozen=True)
class FailedDocument:
    """One document that could not be scored or indexed, and why."""

    index: int
    id: str | None
    error: MinirerankerError
    document: Any = field(repr=False, compare=False)
    query: int | None = None
    """The query it failed for, counted from 0; None: for every query of the call."""

    @property
    def name(self) -> str:
        """Which document, and for which query."""
        name = f" ({self.id})" if self.id else ""
        which = "" if self.query is None else f" for query {self.query}"
        return f"document {self.index}{name}{which}"

    def __str__(self) -> str:
        """Which document, and what was wrong with it."""
        return f"{self.name}: {self.error}"


@dataclass(frozen=True)
class Timings:
    """Wall-clock seconds of a call by stage."""

    inputs: float = 0.0
    """Decoding, resizing, tokenising, hashing."""
    embedder: float = 0.0
    """The embedding model: vectors, or the attention that says which visual tokens to keep."""
    prefix: float = 0.0
    """First segments that were not in the cache: vision tower and decoder."""
    suffix: float = 0.0
    """Second segments below the band."""
    pairs: float = 0.0
    """Pairs through the band to the exit."""

    @property
    def total(self) -> float:
        """All stages."""
        return self.inputs + self.embedder + self.prefix + self.suffix + self.pairs


@dataclass(frozen=True)
class Work:
    """What a call computed, counted, not timed. A token-layer is one token in one decoder layer."""

    vision_patches: int = 0
    """Through the reranker's own vision tower."""
    embedder_token_layers: int = 0
    """In the embedding model that guides pruning."""
    importances_resampled: int = 0
    """Images and videos whose importances came on another grid, because the embedding model reads
    them at another size."""
    header_token_layers: int = 0
    prefix_token_layers: int = 0
    suffix_token_layers: int = 0
    pair_token_layers: int = 0
    cache_hits: int = 0
    cache_misses: int = 0

    @property
    def token_layers(self) -> int:
        """What a call with a warm cache pays: second segments below the band, and pairs in it."""
        return self.suffix_token_layers + self.pair_token_layers


@dataclass(frozen=True)
class Ranking(Sequence[RankedDocument]):
    """The answer of ``rank``: a sequence of RankedDocument, best first, and what happened."""

    hits: tuple[RankedDocument, ...]
    failed: tuple[FailedDocument, ...] = ()
    timings: Timings = Timings()
    work: Work = Work()

    def __len__(self) -> int:
        """Documents ranked (after ``top_k``)."""
        return len(self.hits)

    @overload
    def __getitem__(self, at: int) -> RankedDocument: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[RankedDocument, ...]: ...
    def __getitem__(self, at: int | slice) -> RankedDocument | tuple[RankedDocument, ...]:
        """The document at a rank, 0 is the best."""
        return self.hits[at]

    def __iter__(self) -> Iterator[RankedDocument]:
        """Best first."""
        return iter(self.hits)


@dataclass(frozen=True)
class Indexed(Sequence["DocumentId | None"]):
    """The answer of ``index``: one id a document, in order; None where the document failed."""

    ids: tuple[DocumentId | None, ...]
    failed: tuple[FailedDocument, ...] = ()
    timings: Timings = Timings()
    work: Work = Work()
    keys: tuple[str | None, ...] = ()
    """Cache keys of the documents' entries; None where one failed or has none (query-first)."""

    def __len__(self) -> int:
        """Documents passed in."""
        return len(self.ids)

    @overload
    def __getitem__(self, at: int) -> DocumentId | None: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[DocumentId | None, ...]: ...
    def __getitem__(self, at: int | slice) -> DocumentId | tuple[DocumentId | None, ...] | None:
        """The id of the document passed at that place."""
        return self.ids[at]
