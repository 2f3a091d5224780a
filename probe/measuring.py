"""The passes of one probe over one loaded model: timed, with a progress bar, stopped by Ctrl-C."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from minireranker.engine.prefix import Band
from minireranker.engine.progress import Progress
from minireranker.engine.state import EngineState
from minireranker.errors import InputError, MinirerankerError

from .guidance import brings_importances, is_visual, with_importances
from .reading import BlockedPasses, OpenPass
from .sample import Question
from .settings import ProbeSettings
from .similarity import Similarity

_LOG = logging.getLogger(__name__)


class Measuring:
    """Runs passes; after Ctrl-C every further one is empty."""

    def __init__(self, state: EngineState, settings: ProbeSettings, progress: bool | None) -> None:
        """``state``: of a dense model. ``progress``: as everywhere."""
        self.state, self.settings = state, settings
        self.is_interrupted = False
        self.seconds: dict[str, float] = {}
        """Wall-clock time of each kind of pass."""
        self._progress = progress

    def open(self, questions: Sequence[Question]) -> OpenPass:
        """The dense model over all questions.

        Raises InputError where nothing could be read, KeyboardInterrupt where nothing was.
        """
        similarity = Similarity(self.state.band.exit_layer, self.settings.seed)
        found = OpenPass(self.state, similarity)
        with self._stage("open pass", len(questions)) as bar:
            for question in questions:
                found.read(question)
                bar.advance()
        if found.questions:
            return found
        if self.is_interrupted:
            raise KeyboardInterrupt
        raise InputError(f"nothing could be read; first of all {found.failed[0]}")

    def blocked(
        self, questions: Sequence[Question], bands: Sequence[Band], keep_ratio: float = 1.0
    ) -> BlockedPasses:
        """Questions under other bands; as many as were finished."""
        found = BlockedPasses(self.state, bands, keep_ratio)
        label = "blocked passes" if len(bands) > 1 else "one reduced pass"
        with self._stage(label, len(questions)) as bar:
            for question in () if self.is_interrupted else questions:
                found.read(question)
                bar.advance()
        return found

    def weighed(self, questions: Sequence[Question]) -> list[Question]:
        """Questions with importances of all visuals; empty where there are none to be had."""
        embedder, limits = self.state.embedder, self.state.profile.limits
        if not any(map(is_visual, questions)) or self.is_interrupted:
            return []
        if embedder is None and not all(map(brings_importances, questions)):
            return []
        found = []
        try:
            with self._stage("embedder", len(questions)) as bar:
                for question in questions:
                    found.append(with_importances(question, embedder, limits))
                    bar.advance()
        except MinirerankerError as error:
            _LOG.warning("the keep ratio is not probed: %s", error)
            return []
        return [] if self.is_interrupted else found

    @contextmanager
    def _stage(self, label: str, total: int) -> Iterator[Progress]:
        start = time.perf_counter()
        try:
            with Progress(label, total, self._progress) as bar:
                yield bar
        except KeyboardInterrupt:
            self.is_interrupted = True
        finally:
            spent = time.perf_counter() - start
            self.seconds[label] = round(self.seconds.get(label, 0.0) + spent, 3)
