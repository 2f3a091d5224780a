"""MetaEmbed's vectors of a step's inputs, and a loss sent back through them in passes of any size.

A contest needs the vectors of all its inputs at once, their activations need not exist at once: the
vectors are computed without a gradient first, the loss gives each vector its gradient, and then one
pass after another is computed again and sent back (Gao et al., arXiv 2101.06983, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from minireranker.engine.draft import Segment
from minireranker.retrieval.late_interaction.group import CANDIDATE_TOKENS, QUERY_TOKENS
from minireranker.train.repeatable import seeded

from .backbone import passes
from .forward import Prompt, StateForward
from .lessons import Input
from .tokens import TrainedTokens

Written: TypeAlias = tuple[Input, Segment]


@dataclass(frozen=True, eq=False)
class Encoding:
    """Encodes with what is trained, as it is now."""

    trained: TrainedTokens
    forward: StateForward
    tokens: int
    """Of a pass."""

    def passes(self, written: Iterable[Written]) -> list[list[Written]]:
        """Inputs that are read together."""
        sizes = {True: QUERY_TOKENS, False: QUERY_TOKENS + CANDIDATE_TOKENS}
        each = ((item, len(item[1]) + sizes[item[0].is_query]) for item in written)
        return list(passes(each, self.tokens))

    def vectors(self, written: Sequence[Written]) -> list[Tensor]:
        """Of one pass: [16, dim] of a query, [64, dim] of a document; float32, unit length."""
        prompts = []
        for item, segment in written:
            count = QUERY_TOKENS if item.is_query else CANDIDATE_TOKENS
            appended = self.trained.appended(is_query=item.is_query)
            prompts.append(Prompt(segment, appended, count))
        return [F.normalize(states.float(), dim=-1) for states in self.forward(prompts)]

    def send_back(
        self,
        segments: Mapping[Input, Segment],
        loss_of: Callable[[dict[Input, Tensor]], Tensor],
        seeds: tuple[int, ...],
    ) -> float:
        """The loss of all inputs' vectors; its gradients are added to what is trained.

        Dropout goes by ``seeds`` and the pass alone, so that both times it drops the same.
        """
        parts = self.passes(segments.items())
        if len(parts) == 1:
            loss = loss_of(self._found(parts, [self._seeded(parts, 0, seeds)]))
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss.detach())
        with torch.no_grad():
            ahead = [self._seeded(parts, at, seeds) for at in range(len(parts))]
        leaves = [[vectors.requires_grad_() for vectors in part] for part in ahead]
        loss = loss_of(self._found(parts, leaves))
        loss.backward()  # type: ignore[no-untyped-call]
        for at, part in enumerate(leaves):
            torch.autograd.backward(self._seeded(parts, at, seeds), [leaf.grad for leaf in part])
        return float(loss.detach())

    def _seeded(
        self, parts: Sequence[Sequence[Written]], at: int, seeds: tuple[int, ...]
    ) -> list[Tensor]:
        with seeded(self.trained.network.device, *seeds, at):
            return self.vectors(parts[at])

    def _found(
        self, parts: Sequence[Sequence[Written]], vectors: Sequence[Sequence[Tensor]]
    ) -> dict[Input, Tensor]:
        return {
            item: found
            for part, each in zip(parts, vectors, strict=True)
            for (item, _), found in zip(part, each, strict=True)
        }
