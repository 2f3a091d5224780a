"""What an embedding model gives for its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from minireranker.errors import RejectedDocumentsError

from .types import FailedDocument, Timings, Work


@dataclass(frozen=True, eq=False)
class Embedding:
    """One input's vectors."""

    pooled: NDArray[np.float32]
    """[dim], unit length: the last token's state after the final norm."""
    token_ids: NDArray[np.int64]
    """[tokens] of the prompt."""
    states: Tensor | None = None
    """[tokens + appended, hidden], float32 on the CPU, after the final norm, not normalised."""
    importances: tuple[NDArray[np.float32], ...] = ()
    """For each video, then image: [frames, rows, columns] of visual tokens, the attention that the
    last token pays to each, summed over all layers and heads. Empty if not asked for."""


@dataclass(frozen=True, eq=False)
class Embeddings(Sequence["Embedding | None"]):
    """One Embedding an input, in order; None where one failed, with the reason in ``failed``."""

    items: tuple[Embedding | None, ...]
    failed: tuple[FailedDocument, ...] = ()
    timings: Timings = field(default_factory=Timings)
    work: Work = field(default_factory=Work)

    @property
    def pooled(self) -> NDArray[np.float32]:
        """All vectors, [inputs, dim]; [0, 0] of no inputs.

        Raises RejectedDocumentsError if an input failed.
        """
        if self.failed:
            raise RejectedDocumentsError(self.failed, self)
        if not self.items:
            return np.empty((0, 0), np.float32)
        return np.stack([item.pooled for item in self.items if item is not None])

    def __len__(self) -> int:
        """Inputs."""
        return len(self.items)

    @overload
    def __getitem__(self, at: int) -> Embedding | None: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Embedding | None, ...]: ...
    def __getitem__(self, at: int | slice) -> Embedding | tuple[Embedding | None, ...] | None:
        """Of the input at that place."""
        return self.items[at]

    def __iter__(self) -> Iterator[Embedding | None]:
        """In the order of the inputs."""
        return iter(self.items)
