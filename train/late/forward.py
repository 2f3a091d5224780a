"""An embedding pass with a gradient: packed prompts, embeddings appended to each, states out.

Computes what ``Embedder.encode`` does with ``appended`` and ``states``; attention is torch's, which
has a backward.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from minireranker.engine.draft import Segment
from minireranker.engine.packing import Packed, Packer
from minireranker.models.embedder import final_norm
from minireranker.models.qwen3_vl import Projected
from minireranker.train.attention import Attention, Meeting, causal

_NOTHING = np.empty(0, np.int64)
_ALIKE = 1.25
"""Sequences in one attention call differ in length by less than this factor."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """What is read, and how much of it is wanted."""

    segment: Segment
    appended: Tensor
    """[m, hidden] input embeddings behind it; with a gradient, if they are trained."""
    count: int
    """States wanted: of its last tokens."""

    def __len__(self) -> int:
        """Tokens, the appended ones included."""
        return len(self.segment) + len(self.appended)


@dataclass(frozen=True, eq=False)
class StateForward:
    """States after the final norm of a model's decoder, differentiably."""

    packer: Packer
    recompute: bool = False
    """Keep only the states between layers; all else is computed again for the gradient."""

    def __call__(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """The last ``count`` states of each prompt, [count, hidden] float32, not normalised."""
        decoder = self.packer.model.decoder
        with torch.no_grad():
            packed = self.packer.pack([_lengthened(p) for p in prompts], [0] * len(prompts))
        ends = packed.cu_seqlens[1:]
        x = _with_appended(packed.x, prompts, ends)
        states = self._layers(x, packed)
        return [
            final_norm(decoder, states[end - prompt.count : end])
            for prompt, end in zip(prompts, ends, strict=True)
        ]

    def _layers(self, x: Tensor, packed: Packed) -> Tensor:
        decoder = self.packer.model.decoder
        attention = Attention(_meetings(packed.cu_seqlens), len(x), x.device)

        def attend(layer: int, heads: Projected) -> Tensor:
            return attention(heads)

        def layer(index: int, x: Tensor) -> Tensor:
            only = range(index, index + 1)
            return decoder.run(x, packed.rope, only, attend, packed.injections)

        if not self.recompute:
            return decoder.run(
                x, packed.rope, range(len(decoder.layers)), attend, packed.injections
            )
        for index in range(len(decoder.layers)):
            x = checkpoint(layer, index, x, use_reentrant=False)
        return x


def _with_appended(x: Tensor, prompts: Sequence[Prompt], ends: Sequence[int]) -> Tensor:
    """The appended embeddings in their rows; a new tensor, so that gradients reach them."""
    rows = np.concatenate(
        [np.arange(end - len(p.appended), end) for p, end in zip(prompts, ends, strict=True)]
    )
    appended = torch.cat([prompt.appended for prompt in prompts]).to(x)
    return x.index_copy(0, torch.from_numpy(rows).to(x.device), appended)


def _meetings(ends: Sequence[int]) -> list[list[Meeting]]:
    """Sequences of like length together: what is padded is computed."""
    groups: dict[int, list[Meeting]] = {}
    for start, stop in pairwise(ends):
        key = int(math.log(stop - start, _ALIKE))
        groups.setdefault(key, []).append(causal(np.arange(start, stop), _NOTHING))
    return list(groups.values())


def _lengthened(prompt: Prompt) -> Segment:
    """With tokens more, whose embeddings are put in later; text positions go on."""
    segment, count = prompt.segment, len(prompt.appended)
    line = np.broadcast_to(np.arange(segment.span, segment.span + count), (3, count))
    return dataclasses.replace(
        segment,
        input_ids=np.concatenate((segment.input_ids, np.zeros(count, np.int64))),
        positions=np.concatenate((segment.positions, line), axis=1),
        span=segment.span + count,
    )
