"""What all kinds of entries have in common: they can be taken apart, put together, and moved.

A kind says what its tensors and strings are; that is all a file format, or the way to a device,
needs to know of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self

import torch
from torch import Tensor


class Entry(Protocol):
    """What a cache keeps."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""

    def numbers(self) -> dict[str, Tensor]:
        """Those of its tensors that are computed with: what goes to a device."""

    def fields(self) -> dict[str, str]:
        """Everything else, as strings."""

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, str]) -> Self:
        """What ``tensors`` and ``fields`` gave. Raises KeyError or ValueError for anything else."""

    def to(self, device: torch.device) -> Self:
        """The same with its numbers on another device; itself if they are there."""


class Parts:
    """What all kinds share, given ``tensors``, ``fields`` and ``restore``."""

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        raise NotImplementedError

    def numbers(self) -> dict[str, Tensor]:
        """Those of its tensors that are computed with: all of them."""
        return self.tensors()

    def fields(self) -> dict[str, str]:
        """Everything else, as strings."""
        return {}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, str]) -> Self:
        """What ``tensors`` and ``fields`` gave. Raises KeyError or ValueError for anything else."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def to(self, device: torch.device) -> Self:
        """The same with its numbers on another device; itself if they are there."""
        numbers = self.numbers()
        if all(tensor.device == device for tensor in numbers.values()):
            return self
        moved = {name: t.to(device, non_blocking=True) for name, t in numbers.items()}
        return self.restore({**self.tensors(), **moved}, self.fields())
