"""The tables of all layers of one batch, in one array: worked out once, not once a layer.

Layers differ in little: the last has one query token a row, some see no document, and the others
find their documents' K and V a fixed step further on. What depends on lengths alone is computed
once for layers alike; of the rest only addresses move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from torch import Tensor

from .call import Extent, Layout, Lengths
from .launches import Numbers
from .runs import Array, Kind
from .tiles import ADDRESSES, FIELDS, Cut, Part, Tiles

__all__ = ["LayerRows", "Place", "Schedule", "Stack", "bucket"]


class Stack(NamedTuple):
    """A document's K and V in all layers of a band: an ``Extent`` each, the layer in front."""

    k: Tensor
    """[layers, tokens, kv_heads, head_dim]."""
    v: Tensor
    k_scale: Tensor | None = None
    """[layers, ...]: see ``Extent``."""
    v_scale: Tensor | None = None

    def layer(self, at: int) -> Extent:
        """Views."""
        return Extent(*(None if part is None else part[at] for part in self))  # type: ignore[arg-type]


class LayerRows(NamedTuple):
    """The rows of one layer's call; equal ones share their tables."""

    cu_q: tuple[int, ...]
    """See ``Call``."""
    total_q: int
    """Query tokens, padding included."""
    at: int | None
    """Which layer of the documents' stacks they see; None: no document."""


class Place(NamedTuple):
    """Where a layer's tiles are in the array: nothing that changes with a batch's numbers."""

    parts: tuple[Part, ...]
    """Tiles counted from the start of the array, empty ones included."""
    tokens_at: int
    total_q: int


def bucket(count: int) -> int:
    """The least multiple of 8, or of an eighth of the next power of two, that is not smaller.

    8, 16, 24 and so on to 64, then 80, 96, 112, 128, then 160: four up to each power of two.
    """
    step = max(8, (1 << max(0, count - 1).bit_length()) // 8)
    return -(-count // step) * step


@dataclass(frozen=True, eq=False)
class Schedule:
    """What is sent to the device for one batch. Addresses: keep ``documents`` while it is used."""

    array: Array
    """All layers' tables, then their tokens' first and last own keys and blocks, see ``Tiles``."""
    places: tuple[Place, ...]
    """One a layer."""
    aligned: bool
    """See ``Tiles``; as for ``stride``."""
    stride: int
    header: int
    """Its tokens."""
    own_tokens: int
    """Of all rows."""
    documents: tuple[Stack | None, ...]
    """One a row."""

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal for batches whose launches differ in nothing but the array's numbers."""
        return len(self.array), self.places, self.aligned, self.stride

    @classmethod
    def of(
        cls,
        layers: Sequence[LayerRows],
        cu_k: Lengths,
        documents: Sequence[Stack | None],
        *,
        header: int,
        numbers: Numbers,
        cut: Callable[[Kind], Cut],
        room: Callable[[int], int] = bucket,
    ) -> Self:
        """``header``: its tokens. ``cut``: see ``Tiles``.

        ``room``: how many tiles, or blocks, are set aside for a number of them.
        """
        distinct = {id(stack): stack for stack in documents if stack is not None}
        extents = {name: stack.layer(0) for name, stack in distinct.items()}
        seen = [None if stack is None else extents[id(stack)] for stack in documents]
        made: dict[LayerRows, _Tables] = {}
        for rows in layers:
            alike = rows._replace(at=None if rows.at is None else 0)
            if alike not in made:
                prefixes = [None] * len(seen) if alike.at is None else seen
                sizes = alike.total_q, header, numbers.group, numbers.dtype
                given = Layout(alike.cu_q, cu_k, prefixes, *sizes)
                made[alike] = _Tables.of(Tiles.of(given, cut), given, documents, room)
        tables = [made[rows._replace(at=None if rows.at is None else 0)] for rows in layers]
        shifted = [each.at(rows.at or 0) for each, rows in zip(tables, layers, strict=True)]
        array, places = _laid_out(made, tables, shifted)
        tiles = [each.tiles for each in made.values()]
        return cls(
            array,
            places,
            all(each.aligned for each in tiles) and _steps_aligned(distinct.values()),
            max((each.stride for each in tiles), default=0),
            header,
            cu_k[-1],
            tuple(documents),
        )


@dataclass(frozen=True, eq=False)
class _Tables:
    """Tiles of the first of some layers alike, with room for more, and the way to the others."""

    tiles: Tiles
    table: Array
    """[tiles and empty ones, fields]."""
    steps: Array
    """[tiles and empty ones, 4]: bytes from one layer's K, V and scales to the next layer's."""
    parts: tuple[Part, ...]
    own: Array
    """First and last own keys, and blocks."""

    @classmethod
    def of(
        cls,
        tiles: Tiles,
        rows: Layout,
        documents: Sequence[Stack | None],
        room: Callable[[int], int],
    ) -> _Tables:
        of_run = [_steps(documents[row]) for row, _ in rows.runs()]
        steps = np.array([*of_run, _steps(None)], np.int64)[tiles.run]
        counts = [room(part.stop - part.first) for part in tiles.parts]
        ends = np.cumsum([0, *counts]).tolist()
        table = np.zeros((ends[-1], len(FIELDS)), np.int64)
        moves = np.zeros((ends[-1], steps.shape[1]), np.int64)
        numbers = tiles.table.view(np.int64).reshape(-1, len(FIELDS))
        for part, start in zip(tiles.parts, ends, strict=False):
            here = slice(start, start + part.stop - part.first)
            table[here] = numbers[part.first : part.stop]
            # Where there is no prefix there is no address either.
            moves[here] = steps[part.first : part.stop] * (table[here, ADDRESSES] != 0)
        kinds = [part.kind for part in tiles.parts]
        parts = tuple(Part(*part) for part in zip(kinds, ends, ends[1:], strict=False))
        spare = np.zeros(room(len(tiles.blocks)) - len(tiles.blocks), np.int64)
        own = np.concatenate([tiles.first, tiles.last, tiles.blocks, spare])
        return cls(tiles, table, moves, parts, own)

    def at(self, layer: int) -> Array:
        """The table of layer number ``layer`` of the documents' stacks."""
        table = self.table.copy()
        table[:, ADDRESSES] += layer * self.steps
        return table


def _laid_out(
    made: dict[LayerRows, _Tables], tables: list[_Tables], shifted: list[Array]
) -> tuple[Array, tuple[Place, ...]]:
    starts = np.cumsum([0, *(len(table) for table in shifted)]).tolist()
    tokens_at, at = {}, starts[-1] * len(FIELDS)
    for each in made.values():
        tokens_at[id(each)] = at
        at += len(each.own)
    places = tuple(
        Place(
            tuple(Part(kind, start + first, start + stop) for kind, first, stop in each.parts),
            tokens_at[id(each)],
            len(each.tiles.first),
        )
        for each, start in zip(tables, starts, strict=False)
    )
    flat = [table.ravel() for table in shifted]
    return np.concatenate([*flat, *(each.own for each in made.values())]), places


def _steps(stack: Stack | None) -> tuple[int, ...]:
    """Bytes from one layer to the next: of K, V and their scales."""
    if stack is None:
        return (0,) * len(Stack._fields)
    return tuple(0 if part is None else part.stride(0) * part.element_size() for part in stack)


def _steps_aligned(stacks: Iterable[Stack]) -> bool:
    """Whether where one layer starts at 16 bytes the next does."""
    return all(step % 16 == 0 for stack in stacks for step in _steps(stack)[:2])
