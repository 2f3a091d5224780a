"""The passes of a probe over its questions: the open one, then those with a blocked pathway.

Question by question, all passes of one before the next: stopped at any time, every curve is whole,
of fewer questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from minireranker.engine.prefix import Band
from minireranker.engine.state import EngineState

from .passes import blocked, lens, write
from .quality import Floats
from .sample import Question
from .similarity import Similarity

Scores = NDArray[np.float32]
"""[exits, pairs]: row e with an exit after layer e."""


@dataclass(eq=False)
class OpenPass:
    """The dense model over questions: every layer scored, second segments' states compared."""

    state: EngineState
    similarity: Similarity
    failed: list[str] = field(default_factory=list)
    """Documents that could not be read, and why."""
    _read: list[tuple[Question, Scores]] = field(default_factory=list)

    @property
    def questions(self) -> list[Question]:
        """Those read, with the documents that could be."""
        return [question for question, _ in self._read]

    @property
    def scores(self) -> Floats:
        """[exits, pairs] of all ``questions``."""
        return np.concatenate([part for _, part in self._read], axis=1).astype(np.float64)

    def read(self, question: Question) -> None:
        """One more question. Raises NonFiniteScoreError."""
        written = write(self.state, question)
        scores = np.empty((self.state.band.exit_layer, len(question.documents)), np.float32)
        for batch in written.batches:
            self.similarity.start(batch.pairs)
            scores[:, batch.places] = lens(self.state, batch, self.similarity.watch)
            self.similarity.finish()
        for place, error in written.failed.items():
            self.failed.append(f"{question.documents[place].id or place}: {error}")
        read = [at for at in range(len(question.documents)) if at not in written.failed]
        question = question.only(read)
        if question.is_telling:
            self._read.append((question, scores[:, read]))


class BlockedPasses:
    """Questions under several bands, each scored at every exit up to the band's own."""

    def __init__(self, state: EngineState, bands: Sequence[Band], keep_ratio: float = 1.0) -> None:
        """``keep_ratio``: below 1 the questions need importances."""
        self._state, self._bands, self._keep_ratio = state, bands, keep_ratio
        self._read: list[dict[Band, Scores]] = []

    @property
    def questions(self) -> int:
        """How many were read."""
        return len(self._read)

    def scores(self, band: Band) -> Floats:
        """[exits, pairs] under a band."""
        return np.concatenate([part[band] for part in self._read], axis=1).astype(np.float64)

    def read(self, question: Question) -> None:
        """One more question. Raises what cannot be read, and NonFiniteScoreError."""
        written = write(self._state, question, self._keep_ratio)
        for error in written.failed.values():
            raise error
        size = len(question.documents)
        found = {band: np.empty((band.exit_layer, size), np.float32) for band in self._bands}
        for batch in written.batches:
            for band, scores in blocked(self._state, batch, self._bands).items():
                found[band][:, batch.places] = scores
        self._read.append(found)
