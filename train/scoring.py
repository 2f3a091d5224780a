"""Scores of many pairs without a gradient: of held-out pairs, and a teacher's of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from minireranker.errors import MediaError, NonFiniteScoreError

from .batch import PairBatch
from .plan import Numbers
from .processes import Processes
from .reading import BatchReader, require_readable

Scorer = Callable[[PairBatch], torch.Tensor]
"""Raw logit differences of a batch, float32 [pairs]: a PairForward."""


def score_batches(
    scorer: Scorer,
    reader: BatchReader,
    plan: Sequence[Numbers],
    total: int,
    processes: Processes,
    device: torch.device,
    advance: Callable[[int], None] = lambda pairs: None,
) -> NDArray[np.float64]:
    """Scores by pair number, [total]; NaN for pairs that are not in the plan or cannot be written.

    Each process computes its share of the batches, and all get all. Raises NonFiniteScoreError
    where the model gives NaN or infinity, which is not the same as a pair nobody could read;
    InputError where all files are gone.
    """
    found = np.zeros((2, total))
    gone: list[MediaError | None] = []
    with torch.no_grad():
        for written in reader.read(plan[processes.rank :: processes.count]):
            if len(written.numbers):
                found[0, written.numbers] = scorer(written.batch).cpu().double().numpy()
                found[1, written.numbers] = 1.0
            gone.append(written.gone)
            advance(len(written.numbers))
    scores, known = processes.total(found, device)
    if not known.any():
        require_readable(gone)
    lost = int((~np.isfinite(scores)).sum())
    if lost:
        raise NonFiniteScoreError(
            f"the model gives no finite score for {lost} of {int(known.sum())} pairs; where it is "
            "in training, begin again with a smaller learning rate; else try dtype='float32'"
        )
    return np.where(known > 0, scores, np.nan)
