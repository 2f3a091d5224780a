"""AdamW over masters: a step's gradient averaged over its pairs, clipped, at a scheduled rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from minireranker.errors import NonFiniteScoreError


class Schedule(Protocol):
    """Of a run's settings, what its optimizer goes by."""

    @property
    def learning_rate(self) -> float:
        """The highest."""

    @property
    def warmup(self) -> float:
        """Share of the steps in which it rises."""

    @property
    def weight_decay(self) -> float:
        """As AdamW has it."""

    @property
    def clip(self) -> float:
        """Largest norm of a step's gradient."""


def rate_at(step: int, steps: int, settings: Schedule) -> float:
    """The learning rate of a step (from 0) of ``steps``: a linear rise, then a half cosine to 0."""
    warm = math.ceil(settings.warmup * steps)
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    done = (step - warm) / max(steps - warm, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


class Optimizer:
    """Moves masters, by gradients of losses that are sums over pairs."""

    def __init__(self, masters: Mapping[str, Tensor], settings: Schedule) -> None:
        """``masters`` are moved in place."""
        self._masters = list(masters.values())
        self._clip = settings.clip
        self._adam = torch.optim.AdamW(
            self._masters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    @property
    def gradients(self) -> list[Tensor]:
        """Of all masters; zeros where none has arrived."""
        for master in self._masters:
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        return [master.grad for master in self._masters if master.grad is not None]

    def step(self, pairs: int, rate: float) -> float:
        """Move once; the gradients gathered are those of ``pairs`` pairs. Returns their norm.

        Without a pair nothing moves. Raises NonFiniteScoreError before a gradient that is no number
        is taken over.
        """
        gradients = self.gradients
        if not pairs:
            self._adam.zero_grad()
            return 0.0
        torch._foreach_div_(gradients, float(pairs))
        norm = torch.nn.utils.clip_grad_norm_(self._masters, self._clip)
        if not torch.isfinite(norm):
            raise NonFiniteScoreError(
                f"the gradient's norm is {float(norm)}; begin again with a smaller learning rate"
            )
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self._adam.zero_grad()
        return float(norm)

    def state(self) -> dict[str, Any]:
        """To go on from."""
        return self._adam.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        self._adam.load_state_dict(state)
