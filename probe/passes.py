"""A question's pairs through the model, every layer's last token scored (the logit lens).

A layer's last-token state, through the final norm and the head, is exactly what the model would
answer with an exit behind that layer (method, section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.configs import Profile
from minireranker.engine.guide import Guide
from minireranker.engine.prefix import Band
from minireranker.engine.state import EngineState
from minireranker.engine.work import Meter
from minireranker.errors import MinirerankerError, NonFiniteScoreError
from minireranker.train.batch import PairBatch, WrittenPair
from minireranker.train.forward import PairForward
from minireranker.train.rows import Rows
from minireranker.train.writing import PairWriter

from .pathway import Pathways
from .sample import Question

Layer = Callable[[Tensor, Rows], None]
"""Told the states [rows, hidden] after every layer but the last, and whose they are."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some pairs of one question, written."""

    pairs: PairBatch
    places: list[int]
    """Which of the question's documents they are of."""


@dataclass(frozen=True, eq=False)
class WrittenQuestion:
    """A question's batches, and the documents that could not be read."""

    batches: list[Batch]
    failed: dict[int, MinirerankerError]


def write(state: EngineState, question: Question, keep_ratio: float = 1.0) -> WrittenQuestion:
    """Its pairs in the state's template. Below 1, the documents need importances.

    Documents of one span are neighbours.
    """
    profile = Profile(keep_ratio=keep_ratio, limits=state.profile.limits)
    guide = Guide(None, profile, Meter(), (state.cache, state.namespace))
    writer = PairWriter(state.prompt, guide)
    pairs: dict[int, WrittenPair] = {}
    failed: dict[int, MinirerankerError] = {}
    for place, document in enumerate(question.documents):
        try:
            pairs[place] = writer.write(
                question.query.content, document.content, question.instruction
            )
        except MinirerankerError as error:
            failed[place] = error
    order = sorted(pairs, key=lambda place: pairs[place].first.span)
    batches = []
    for places in _split(order, pairs, state.batch_tokens):
        batches.append(Batch(PairBatch.of([pairs[at] for at in places]), places))
    return WrittenQuestion(batches, failed)


def lens(state: EngineState, batch: Batch, also: Layer) -> NDArray[np.float32]:
    """Scores [exits, pairs] of the state's own profile: row e with an exit after layer e.

    Raises NonFiniteScoreError.
    """
    found: list[Tensor] = []

    def watch(index: int, x: Tensor, rows: Rows) -> None:
        found.append(state.model.score(x[torch.from_numpy(rows.ends).to(x.device)]))
        also(x, rows)

    with torch.no_grad():
        forward = PairForward(state.model, state.packer(Meter()), state.band)
        found.append(forward(batch.pairs, watch))
        return _finite(torch.stack(found))


def blocked(
    state: EngineState, batch: Batch, bands: Sequence[Band]
) -> dict[Band, NDArray[np.float32]]:
    """The same under other bands, of one exit, in one go. Raises NonFiniteScoreError."""
    (exit_layer,) = {band.exit_layer for band in bands}
    with torch.no_grad():
        packer = state.packer(Meter())
        pathways = Pathways.of(state.model, packer, batch.pairs, exit_layer)
        scores = pathways.lens(bands, state.batch_tokens)
        return {band: _finite(rows) for band, rows in zip(bands, scores, strict=True)}


def _finite(scores: Tensor) -> NDArray[np.float32]:
    found = scores.float().cpu().numpy()
    if np.isfinite(found).all():
        return found
    layer = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
    raise NonFiniteScoreError(
        f"scores after layer {layer} are NaN or infinite; probe in float32, and check the "
        "checkpoint"
    )


def _split(order: Sequence[int], pairs: dict[int, WrittenPair], tokens: int) -> Iterator[list[int]]:
    """Neighbours together while their rows fit; a pair of more goes alone."""
    part: list[int] = []
    rows = 0
    for place in order:
        size = len(pairs[place].first) + len(pairs[place].second)
        if part and rows + size > tokens:
            yield part
            part, rows = [], 0
        part.append(place)
        rows += size
    if part:
        yield part
