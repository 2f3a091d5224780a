"""The stages of a cascade that look at vectors: by pooled vector, and by MaxSim."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from minireranker.engine.content import DocumentId
from minireranker.engine.progress import Progress
from minireranker.engine.types import FailedDocument
from minireranker.errors import ConfigurationError, UnknownDocumentError

from .late_interaction import LateInteraction
from .parts import part_of
from .search_call import Scored, SearchCall, check_encoder
from .vector_index import VectorIndex
from .vectors import TokenVectors

_SCORES = 2**26
"""Scores of several queries against a whole index at once: 256 MiB."""


class Stage(Protocol):
    """Scores candidates and lets the best ``top_k`` of them through."""

    @property
    def kind(self) -> str:
        """The stage's name in a result."""

    @property
    def top_k(self) -> int | None:
        """How many go on; None: all that have a score."""

    @property
    def system(self) -> str:
        """What scores."""

    @property
    def index(self) -> VectorIndex | None:
        """What it looks documents up in, if it does."""

    def run(self, call: SearchCall, lists: Sequence[Sequence[str]] | None) -> list[Scored]:
        """One answer a query, over its list of ids; None: it is the first stage."""


@dataclass(frozen=True, eq=False)
class Retrieve:
    """The documents nearest by pooled vector, among all of an index. Only as the first stage.

    Raises ConfigurationError for an encoder that has no pooled vector, or is not the index's.
    """

    index: VectorIndex
    encoder: LateInteraction
    top_k: int | None = 1000
    kind: ClassVar[str] = "retrieve"

    def __post_init__(self) -> None:
        """Hold the above."""
        check_kept(self.top_k)
        check_encoder(self.index, self.encoder)
        if not self.encoder.pooled_dim:
            raise ConfigurationError(
                f"{self.encoder.name} has no pooled vectors to retrieve by: begin with "
                "Rescore(index, encoder), which looks at all documents, or retrieve from an index "
                "of another encoder"
            )

    @property
    def system(self) -> str:
        """The encoder's kind."""
        return self.encoder.name

    def run(self, call: SearchCall, lists: Sequence[Sequence[str]] | None) -> list[Scored]:
        """See Stage."""
        vectors, size = call.vectors(self.encoder), len(self.index)
        assert vectors.pooled is not None, "the encoder has pooled vectors"
        found = self.index.search(vectors.pooled, self.top_k or max(size, 1))
        return [Scored(each.ids, each.scores, size) for each in found]


@dataclass(frozen=True, eq=False)
class Rescore:
    """The encoder's own score, MaxSim, over what is left; as the first stage over everything.

    Raises ConfigurationError for an encoder that is not the index's.
    """

    index: VectorIndex
    encoder: LateInteraction
    top_k: int | None = 100
    kind: ClassVar[str] = "rescore"

    def __post_init__(self) -> None:
        """Hold the above."""
        check_kept(self.top_k)
        check_encoder(self.index, self.encoder)

    @property
    def system(self) -> str:
        """The encoder's kind."""
        return self.encoder.name

    def run(self, call: SearchCall, lists: Sequence[Sequence[str]] | None) -> list[Scored]:
        """See Stage."""
        vectors, found = call.vectors(self.encoder), list[Scored]()
        names = self.index.ids if lists is None else []
        step = max(1, _SCORES // max(1, len(names))) if lists is None else 1
        with Progress("rescoring", len(vectors), call.progress) as bar:
            for first in range(0, len(vectors), step):
                some = part_of(vectors, first, min(first + step, len(vectors)))
                found += self._score(some, names if lists is None else lists[first])
                bar.advance(len(some))
        return found

    def _score(self, vectors: TokenVectors, names: Sequence[str]) -> list[Scored]:
        here, scores = self._known(vectors, names)
        left = set(here)
        failed = [
            FailedDocument(at, name, self._unknown(name), DocumentId(name))
            for at, name in enumerate(names)
            if name not in left
        ]
        return [Scored(here, row, len(names), failed) for row in scores]

    def _known(
        self, vectors: TokenVectors, names: Sequence[str]
    ) -> tuple[Sequence[str], NDArray[np.float32]]:
        """Those of ``names`` that the index has, and their scores [queries, n]."""
        while names:
            try:
                return names, self.index.score(self.encoder, vectors, names)
            except UnknownDocumentError:
                names = [name for name in names if name in self.index]
        return [], np.empty((len(vectors), 0), np.float32)

    def _unknown(self, name: str) -> UnknownDocumentError:
        return UnknownDocumentError(
            f"{self.index.path} has no document {name!r} (any more): append it there, or delete it "
            "from the index it was retrieved from"
        )


def check_kept(top_k: Any) -> None:
    """Raise ConfigurationError for what is no count of documents to let through."""
    try:
        count = 1 if top_k is None else operator.index(top_k)
    except TypeError:
        count = 0
    if count < 1:
        raise ConfigurationError(f"top_k = {top_k!r}: allowed is 1 or more, or None for all")
