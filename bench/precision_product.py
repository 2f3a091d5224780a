"""The pass's largest product alone: what a machine can do at most, in each precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

__all__ = ["LargestProduct"]

_TIMES = 4
"""Products in one call: long enough for a rate."""


class LargestProduct:
    """Rows of a pass times the weight of an MLP, [rows, hidden] x [hidden, MLP], random numbers."""

    def __init__(self, model: Path, rows: int) -> None:
        """Shapes of the checkpoint ``model``. Raises CheckpointError."""
        import torch

        from minireranker.models import Checkpoint, resolve

        text = Checkpoint.open(resolve(str(model))).config.text
        self._x = torch.randn(rows, text.hidden_size).bfloat16()
        self._weight = torch.randn(text.intermediate_size, text.hidden_size).bfloat16()

    @property
    def flop(self) -> float:
        """Of one call."""
        return 2.0 * _TIMES * self._x.numel() * len(self._weight)

    def of(self, precision: str) -> Callable[[], object]:
        """What computes it in bfloat16, int8 or fp8, quantising its rows included."""
        import torch
        import torch.nn.functional as F

        from minireranker.kernels.quantised import KINDS, QuantisedWeight, quantise_rows

        eight = {kind: QuantisedWeight(self._weight, kind) for kind in KINDS if kind == precision}

        def several() -> None:
            with torch.inference_mode():
                for _ in range(_TIMES):
                    for kind, weight in eight.items():
                        weight(quantise_rows(self._x, kind))
                    if not eight:
                        F.linear(self._x, self._weight)

        return several
