"""How alike a second segment's states are behind different first segments, layer by layer.

The miniReranker paper's question: where they are (nearly) the same whatever document stands in
front, they can be computed once for all documents. Compared at one token at a time, between first
segments of one span, so that positions are equal too. Raw cosines of decoder states are near 1 in
any case, for a few large directions all tokens have in common; hence the centred ones beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.train.batch import PairBatch
from minireranker.train.rows import Rows

from .quality import Floats

TOKENS, FIRSTS, SECONDS = 8, 4, 32
"""Compared: at most so many tokens of a second segment, behind so many first segments, of so many
second segments. Bounds memory: at 28 layers 2048 wide 230 MB."""


@dataclass
class Similarity:
    """Collects states during the dense pass; the means are known only at its end."""

    layers: int
    seed: int
    _states: list[list[Tensor]] = field(default_factory=list)
    """By second segment, by layer: [firsts, tokens, hidden] in float32."""
    _rows: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    """In the batch at work, by second segment: its pairs, and the tokens compared."""

    def start(self, batch: PairBatch) -> None:
        """Choose what is compared in ``batch``, before its pass."""
        random = np.random.default_rng([self.seed, len(self._states)])
        groups: dict[int, dict[int, int]] = {}
        for pair, (first, second) in enumerate(batch.pairs):
            groups.setdefault(second, {}).setdefault(first, pair)
        self._rows = []
        for second, firsts in groups.items():
            if len(firsts) < 2 or len(self._states) + len(self._rows) >= SECONDS:
                continue
            pairs = random.permutation(list(firsts.values()))[:FIRSTS]
            size = len(batch.seconds[second][0])
            # The last token is the one that scores.
            others = random.permutation(size - 1)[: TOKENS - 1]
            self._rows.append((pairs, np.append(others, size - 1)))
        self._pending: list[list[Tensor]] = [[] for _ in self._rows]

    def watch(self, x: Tensor, rows: Rows) -> None:
        """The states after one layer; ``rows`` are paired."""
        for (pairs, tokens), states in zip(self._rows, self._pending, strict=True):
            index = np.stack([rows.seconds[pair][tokens] for pair in pairs])
            states.append(x[torch.from_numpy(index).to(x.device)].float().cpu())

    def finish(self) -> None:
        """The batch's pass is done."""
        self._states += self._pending
        self._rows, self._pending = [], []

    @property
    def seconds(self) -> int:
        """Second segments compared."""
        return len(self._states)

    def curves(self) -> dict[str, list[float]]:
        """Mean cosine after each layer but the last: ``centred`` and ``raw``; {} without data."""
        if not self._states:
            return {}
        found = [self._at(layer) for layer in range(self.layers - 1)]
        return {"centred": [pair[0] for pair in found], "raw": [pair[1] for pair in found]}

    def _at(self, layer: int) -> tuple[float, float]:
        parts = [states[layer].double().numpy() for states in self._states]
        # Every second segment counts alike, however many first segments it was seen behind.
        centre = np.mean([part.mean(axis=(0, 1)) for part in parts], axis=0)
        return _mean([part - centre for part in parts]), _mean(parts)


def _mean(parts: list[Floats]) -> float:
    """Over pairs of first segments, tokens, then second segments."""
    return float(np.mean([_cosine(part) for part in parts]))


def _cosine(part: Floats) -> float:
    size = np.linalg.norm(part, axis=-1, keepdims=True)
    unit = part / np.maximum(size, np.finfo(np.float32).tiny)
    count = len(part)
    # |sum|^2 is the sum over all ordered pairs, of which `count` are of a state with itself.
    total = np.square(unit.sum(axis=0)).sum(axis=-1) - count
    return float(np.mean(total / (count * (count - 1))))
