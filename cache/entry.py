"""What is worth keeping: a first segment's K/V, a second segment's state, visual features."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class PrefixEntry:
    """A first segment, read through the band's end: what any second segment may attend to."""

    k: Tensor
    """[band layers, tokens, kv_heads, head_dim], normed and rotated; one extent a layer."""
    v: Tensor
    """Same shape."""
    span: int
    """How far the second segment's positions are moved (that of the unpruned segment)."""
    tokens: int
    """Tokens after pruning; known also when the band, and so K/V, is empty."""

    @property
    def nbytes(self) -> int:
        """Bytes of K and V."""
        return self.k.nbytes + self.v.nbytes


@dataclass(frozen=True, eq=False)
class FeatureEntry:
    """Visual tokens as the tower gives them: the input of the decoder, [tokens, hidden]."""

    merged: Tensor
    deepstack: tuple[Tensor, ...]
    """One map a DeepStack level, same shape."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return self.merged.nbytes + sum(level.nbytes for level in self.deepstack)


@dataclass(frozen=True, eq=False)
class SuffixEntry:
    """A second segment, read up to the layer where it meets the first."""

    x: Tensor
    """[tokens, hidden]: hidden states entering that layer."""
    positions: Tensor
    """[3, tokens] int64, absolute: they depend on the first segment's span."""
    injections: tuple[Tensor | None, ...]
    """DeepStack maps still to come, by layer, [tokens, hidden] or None."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        maps = sum(item.nbytes for item in self.injections if item is not None)
        return self.x.nbytes + self.positions.nbytes + maps
