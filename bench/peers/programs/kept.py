"""Keys and values of first segments, kept from one pair to the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


@dataclass(frozen=True, eq=False)
class Kept:
    """One first segment: a key and a value tensor a layer, each [1, heads, tokens, dim]."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    span: int
    """The position of what follows."""

    def __len__(self) -> int:
        """Tokens."""
        return int(self.layers[0][0].shape[-2])

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(part.nbytes for layer in self.layers for part in layer)


def kept_rows(cache: DynamicCache, lengths: Sequence[int], spans: Sequence[int]) -> list[Kept]:
    """Each row of a cache that was filled from the left, without its padding."""
    return [
        Kept(
            tuple(
                (_row(layer.keys, at, length), _row(layer.values, at, length))
                for layer in cache.layers
            ),
            span,
        )
        for at, (length, span) in enumerate(zip(lengths, spans, strict=True))
    ]


def _row(whole: Tensor, at: int, length: int) -> Tensor:
    # Without the copy a row would hold all others in memory.
    return whole if len(whole) == 1 else whole[at : at + 1, :, :length].clone()


class KeptLayer(DynamicLayer):  # type: ignore[misc]
    """A layer that hands out what was kept followed by what is new, and keeps nothing new.

    So there is nothing to crop afterwards, and no copy of what is kept outlives its layer.
    Shorter rows get zeros in front, for the attention mask to hide.
    """

    def __init__(self, rows: Sequence[tuple[Tensor, Tensor]]) -> None:
        """One pair of tensors [1, heads, tokens, dim] a row."""
        super().__init__()
        self.rows, self.is_initialized = rows, True

    def get_seq_length(self) -> int:
        """Tokens of the longest row."""
        return max(int(keys.shape[-2]) for keys, _ in self.rows)

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Both [rows, heads, longest + new, dim]."""
        keys, values = zip(*self.rows, strict=True)
        return self._joined(keys, key_states), self._joined(values, value_states)

    def _joined(self, kept: Sequence[Tensor], new: Tensor) -> Tensor:
        rows, heads, fresh, dim = new.shape
        if rows == 1:
            return torch.cat((kept[0], new), -2)
        longest = max(part.shape[-2] for part in kept)
        out = new.new_empty(rows, heads, longest + fresh, dim)
        for row, part in enumerate(kept):
            pad = longest - part.shape[-2]
            out[row, :, :pad] = 0
            out[row, :, pad:longest] = part[0]
        out[:, :, longest:] = new
        return out


def cache_of(kept: Sequence[Kept]) -> Cache:
    """What the model takes as its past; one row each."""
    layers = zip(*(prefix.layers for prefix in kept), strict=True)
    return Cache(layers=[KeptLayer(rows) for rows in layers])


class PrefixStore:
    """First segments by key; those longest unused are dropped first."""

    def __init__(self, most: int) -> None:
        """``most``: bytes."""
        self.most, self.held = most, 0
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()

    def get(self, key: Hashable) -> Kept | None:
        """What is kept under a key; it counts as used."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: Hashable, kept: Kept) -> None:
        """Keep it in place of others; but not what is larger than all there may be."""
        if key in self._kept:
            self.held -= self._kept.pop(key).nbytes
        if kept.nbytes > self.most:
            return
        self._kept[key] = kept
        self.held += kept.nbytes
        while self.held > self.most:
            self.held -= self._kept.popitem(last=False)[1].nbytes
