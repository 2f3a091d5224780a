"""Batches from pair numbers: files decoded and prompts written while the batch before computes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from minireranker.cache import Cache, FeatureEntry, Namespace
from minireranker.engine.draft import Segment
from minireranker.engine.features import FeatureReader
from minireranker.engine.packing import Packer
from minireranker.engine.state import EngineState
from minireranker.engine.work import Meter
from minireranker.errors import InputError, MediaError, MinirerankerError
from minireranker.models.qwen3_vl import Qwen3VL

from .batch import PairBatch
from .examples import Examples
from .plan import Numbers
from .writing import PairWriter

_LOG = logging.getLogger(__name__)

_DEPTH = 2
"""Batches in hand: one that computes, one that is written."""


_Planned = TypeVar("_Planned")
_Made = TypeVar("_Made")


@dataclass(frozen=True, eq=False)
class Written:
    """A batch and whose it is; empty where no pair could be written."""

    batch: PairBatch
    numbers: Numbers
    """Of the pairs that are in it, in its order."""
    gone: MediaError | None = None
    """Why a picture or video could not be read, where one could not."""


class BatchReader:
    """Writes pairs of some examples in one model's template."""

    def __init__(self, state: EngineState, examples: Examples, *, share: bool = True) -> None:
        """``share``: see PairBatch."""
        self._state, self._examples, self._share = state, examples, share
        self._warned: set[tuple[int, int]] = set()

    def read(self, plan: Iterable[Numbers]) -> Iterator[Written]:
        """The batches in order, each written in another thread while the one before is in use."""
        return written_ahead(plan, self.write)

    def write(self, numbers: Numbers) -> Written:
        """One batch; a pair that cannot be written is named in the log and left out."""
        # A writer keeps what it has written, pixels too: one a batch bounds that.
        writer = PairWriter(self._state.prompt, self._state.guide(Meter()))
        pairs, found, gone = [], [], None
        for number in numbers.tolist():
            pair = self._examples.pairs[number]
            query, document = (self._examples.contents[at] for at in (pair.query, pair.document))
            try:
                pairs.append(writer.write(query, document, pair.instruction))
                found.append(number)
            except MinirerankerError as error:
                self._warn(pair.query, pair.document, error)
                gone = error if isinstance(error, MediaError) else gone
        return Written(PairBatch.of(pairs, share=self._share), np.array(found, np.int64), gone)

    def _warn(self, query: int, document: int, error: MinirerankerError) -> None:
        if (query, document) not in self._warned:
            self._warned.add((query, document))
            origin = self._examples.origins[document]
            _LOG.warning("%s: %s; a pair with this document is skipped", origin, error)


def require_readable(gone: Iterable[MediaError | None]) -> None:
    """Raise InputError for the first of ``gone``: of batches of which not a pair could be read.

    All were read when the run began, so it is the files that have gone: a disk that is not mounted
    any more must not count as trained on.
    """
    for error in gone:
        if error is not None:
            raise InputError(
                f"no pair can be read any more ({error}); bring the files back and start the same "
                "run again: it goes on from its last checkpoint"
            ) from error


def written_ahead(plan: Iterable[_Planned], write: Callable[[_Planned], _Made]) -> Iterator[_Made]:
    """What ``write`` makes of each, in order, in another thread while the one before is in use."""
    waiting: deque[Future[_Made]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="minireranker-batch")
    try:
        for item in plan:
            waiting.append(pool.submit(write, item))
            if len(waiting) == _DEPTH:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class FrozenFeatures(FeatureReader):
    """Visual tokens of a tower that is not trained: without gradient, and kept."""

    def __init__(
        self,
        model: Qwen3VL,
        statistics: tuple[Sequence[float], Sequence[float]],
        namespace: Namespace,
        nbytes: int,
    ) -> None:
        """At most ``nbytes`` are kept, what was used last.

        ``statistics``: mean and standard deviation of pixels. ``namespace``: of ``model``.
        """
        kept = Cache(None, memory_bytes=nbytes), namespace
        super().__init__(model, *statistics, Meter(), kept)

    def of(
        self, segments: Sequence[Segment], *, keep: bool, durable: bool = False
    ) -> list[FeatureEntry]:
        """As FeatureReader; always through what is kept."""
        with torch.no_grad():
            return super().of(segments, keep=True)


def packer(state: EngineState, *, frozen_bytes: int | None) -> Packer:
    """To train with; ``frozen_bytes`` None: the tower is trained too."""
    if frozen_bytes is None:
        return state.packer(Meter())
    statistics = state.pixel_mean, state.pixel_std
    features = FrozenFeatures(state.model, statistics, state.namespace, frozen_bytes)
    return Packer(state.model, features, Meter())


def labels_of(examples: Examples, numbers: Numbers, device: torch.device) -> Tensor:
    """Labels of pairs, float32 [pairs]."""
    labels = [examples.pairs[number].label for number in numbers.tolist()]
    return torch.tensor(labels, dtype=torch.float32, device=device)
