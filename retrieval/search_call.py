"""One call of a cascade: its queries, their vectors, and where documents can be looked up."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireranker.engine.content import Query
from minireranker.engine.types import FailedDocument, Work
from minireranker.errors import ConfigurationError, UnknownDocumentError

from .late_interaction import LateInteraction
from .vector_index import VectorIndex
from .vectors import TokenVectors


class Scored:
    """What a stage gives for one query: every document with a score, best first."""

    def __init__(
        self,
        names: Sequence[str],
        scores: NDArray[np.float32],
        candidates: int,
        failed: Sequence[FailedDocument] = (),
        work: Work | None = None,
    ) -> None:
        """``names`` and ``scores`` in any order; of equal scores the earlier comes first."""
        order = np.argsort(-scores, kind="stable")
        self.ids: NDArray[np.object_] = np.array(list(names), dtype=object)[order]
        self.scores = scores[order]
        self.candidates, self.failed = candidates, tuple(failed)
        self.work = work or Work()


class SearchCall:
    """Encodes the queries once an encoder, however many stages use it."""

    def __init__(
        self,
        queries: Sequence[Query],
        instruction: str | None,
        progress: bool | None,
        indexes: Sequence[VectorIndex],
    ) -> None:
        """``indexes``: where documents' sources are looked up, in that order."""
        self.queries, self.instruction, self.progress = queries, instruction, progress
        self.encode_seconds = 0.0
        """So far."""
        self._indexes = indexes
        self._vectors: dict[int, TokenVectors] = {}

    def vectors(self, encoder: LateInteraction) -> TokenVectors:
        """Of all queries. Raises EmptyQueryError, InputError, ConfigurationError."""
        if id(encoder) not in self._vectors:
            start = time.perf_counter()
            self._vectors[id(encoder)] = encoder.encode_queries(
                self.queries, instruction=self.instruction, progress=self.progress
            )
            self.encode_seconds += time.perf_counter() - start
        return self._vectors[id(encoder)]

    def source(self, name: str) -> dict[str, Any] | None:
        """The JSON object an index keeps of a document; None: none does."""
        for index in self._indexes:
            try:
                text = index.source(name)
            except UnknownDocumentError:
                continue
            if text is not None and (found := _object(text)) is not None:
                return found
        return None


def check_encoder(index: VectorIndex, encoder: LateInteraction) -> None:
    """Raise ConfigurationError where the index holds another encoder's vectors."""
    if not isinstance(index, VectorIndex):
        raise ConfigurationError(
            f"the index is {type(index).__name__}; pass a VectorIndex, as VectorIndex.open(folder) "
            "gives it"
        )
    if not hasattr(encoder, "encode_queries"):
        raise ConfigurationError(
            f"the encoder is {type(encoder).__name__}; pass one of retrieval: Smart(embedder), "
            "Pooled(embedder), a MetaEmbed or a ColModernVBert"
        )
    made = index.settings
    if made.identity != encoder.identity:
        raise ConfigurationError(
            f"{index.path} holds vectors of {made.encoder} {made.identity[:12]}, this encoder is "
            f"{encoder.name} {encoder.identity[:12]}: open the one the index was made with "
            "(weights, limits, dtype and kind of device count), or make a new index with this one"
        )


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
