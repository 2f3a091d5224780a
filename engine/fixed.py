"""Memory that stays where it is, for one batch after another, with room for a few more rows.

Rows and pairs are counted in steps of about an eighth: batches of about a size share theirs.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.kernels.band_attention.schedule import bucket
from minireranker.kernels.sending import staged
from minireranker.models.qwen3_vl import Qwen3VL
from minireranker.models.qwen3_vl.decoder import ROW_TILE

from .ascent import Ascent, Batch

__all__ = ["Fixed", "Room"]


class Room(NamedTuple):
    """What a batch is given room for."""

    states: int
    """Rows of all states."""
    rows: int
    """Of all pairs."""
    pairs: int
    levels: tuple[bool, ...]
    """See ``Batch.levels``."""

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """Counts that other batches of about its size have, too: multiples of the row tile."""
        states = sum(len(state.x) for state in batch.states)
        counts = _stepped(states), _stepped(batch.cu[-1]), _stepped(batch.pairs)
        return cls(*counts, batch.levels)


class Fixed:
    """The tensors of a batch in memory that stays where it is, for one batch after another."""

    def __init__(self, room: Room, table: int, model: Qwen3VL) -> None:
        """``table``: how many numbers the attention's has."""
        hidden, place = model.config.text.hidden_size, model.device
        # One array, so that what comes from the host comes in one copy.
        self._numbers = torch.zeros(room.rows + room.pairs + table, dtype=torch.int64, device=place)
        rows, last, self.table = torch.split(self._numbers, [room.rows, room.pairs, table])
        self.room, self._model = room, model

        def zeros() -> Tensor:
            return torch.zeros(room.states, hidden, dtype=model.dtype, device=place)

        positions = torch.zeros(3, room.states, dtype=torch.int64, device=place)
        injections = [zeros() if there else None for there in room.levels]
        self.ascent = Ascent(zeros(), model.decoder.rope(positions), rows, last, injections)

    def fill(self, batch: Batch, table: NDArray[np.int64]) -> None:
        """Put a batch's numbers there; it fits the room. In the current stream's order.

        What is left over keeps the numbers of earlier batches: padding, which nothing looks at.
        """
        room, ascent = self.room, self.ascent
        used = sum(len(state.x) for state in batch.states)
        assert used <= room.states, "the batch was measured for this room"
        torch.cat([state.x for state in batch.states], out=ascent.states[:used])
        positions = torch.cat([state.positions for state in batch.states], dim=1)
        rope = self._model.decoder.rope(positions)
        ascent.rope.cos[:used].copy_(rope.cos)
        ascent.rope.sin[:used].copy_(rope.sin)
        for kept, found in zip(ascent.injections, batch.injections(), strict=True):
            if kept is not None and found is not None:
                kept[:used].copy_(found)
        numbers = torch.from_numpy(np.concatenate([*self._places(batch), table]))
        self._numbers.copy_(staged(numbers, self._numbers.device), non_blocking=True)

    def _places(self, batch: Batch) -> list[NDArray[np.int64]]:
        """Padding repeats the first row."""
        pairs = (batch.rows.numpy(), self.room.rows), (batch.last.numpy(), self.room.pairs)
        return [np.pad(numbers, (0, count - len(numbers))) for numbers, count in pairs]


def _stepped(count: int) -> int:
    return ROW_TILE * bucket(-(-count // ROW_TILE))
