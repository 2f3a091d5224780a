"""Which values of K or V share one scale, and in which pieces they are worked on."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SERIAL_VALUES = 31_000
"""A little under the 32 768 from which on torch shares an operation between threads."""
BLOCK_VALUES = 2**18
"""A thread; as float32 they take 1 MiB: a core's own cache."""


@dataclass(frozen=True)
class Grouping:
    """Groups of values of one head in one layer, in K or V [layers, tokens, kv_heads, head_dim].

    ``tokens`` and ``channels`` are the least number of neighbours in a group; there are fewer only
    if the head or the document has fewer. Beyond that groups are as small and as equal as can be:
    of tokens the last may be shorter, of channels all are equal. A group never reaches over layers,
    so that a layer's bytes depend on that layer alone.
    """

    tokens: int = sys.maxsize
    channels: int = sys.maxsize

    def length(self, tokens: int) -> int:
        """Tokens of every group but the last, which may be shorter; at least 1."""
        return max(1, -(-tokens // max(1, tokens // self.tokens)))

    def shape(self, layers: int, tokens: int, heads: int, dim: int) -> tuple[int, int, int, int]:
        """[layers, groups of tokens, kv_heads, groups of channels]: of one number a group."""
        most = max(1, dim // self.channels)
        equal = next((count for count in range(most, 0, -1) if dim % count == 0), 1)
        return layers, -(-tokens // self.length(tokens)), heads, equal

    def fold(self, x: Tensor) -> Tensor:
        """[layers, token groups, length, kv_heads, channel groups, channels of a group], float32.

        The last token is repeated where the last group is short: it changes no maximum.
        """
        layers, tokens, heads, dim = x.shape
        x = x.to(torch.float32).contiguous()
        length = self.length(tokens)
        if missing := -tokens % length:
            x = torch.cat((x, x[:, -1:].expand(-1, missing, -1, -1)), 1)
        _, groups, _, wide = self.shape(layers, tokens, heads, dim)
        return x.view(layers, groups, length, heads, wide, dim // wide)

    def unfold(self, folded: Tensor, tokens: int) -> Tensor:
        """Back from ``fold``: [layers, tokens, kv_heads, head_dim]."""
        return folded.flatten(4).flatten(1, 2)[:, :tokens]

    def largest(self, folded: Tensor) -> Tensor:
        """The largest value of each group of a folded tensor, its dimensions kept.

        A maximum only: any sum would come out differently on another device.
        """
        return folded.amax((2, 5), keepdim=True)

    def spread(self, numbers: Tensor, tokens: int) -> Tensor:
        """[groups of tokens, ...] as [tokens, ...]: its group's beside every token."""
        return numbers.repeat_interleave(self.length(tokens), 0)[:tokens]

    def pieces(
        self, parts: int, by_token: Sequence[Tensor], by_group: Sequence[Tensor]
    ) -> Iterator[tuple[Tensor, ...]]:
        """One layer's tensors [tokens, ...] and [groups, ...], cut into about ``parts`` pieces.

        Each piece has as many groups as tokens, or one whose first dimension is gone: both
        broadcast.
        """
        tokens, groups = by_token[0].shape[0], by_group[0].shape[0]
        if groups == tokens:
            yield from zip(*(t.chunk(parts) for t in (*by_token, *by_group)), strict=True)
            return
        share = -(-parts // groups)
        members = zip(*(t.chunk(groups) for t in by_token), strict=True)
        own = zip(*(t.unbind() for t in by_group), strict=True)
        for group, numbers in zip(members, own, strict=True):
            for piece in zip(*(t.chunk(share) for t in group), strict=True):
                yield *piece, *numbers


def piece_count(codes: Tensor) -> int:
    """In how many pieces the values of one layer are best worked on.

    On two threads small pieces on the calling one: waking the other can cost 50 microseconds where
    threads sleep between operations, and halves work of 10.
    """
    if codes.device.type != "cpu":
        return 1
    threads = torch.get_num_threads()
    return 1 + codes.numel() // (SERIAL_VALUES if threads == 2 else BLOCK_VALUES * threads)
