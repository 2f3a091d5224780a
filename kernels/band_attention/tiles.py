"""The work of one call: which queries meet which keys, as one table for the device.

Query tokens of consecutive rows that share their document's extent are cut into tiles. A tile is
what one program computes for one KV head: its tokens times the heads of the group are the rows of
its products, and so a document's K/V is read once a tile, not once a row. All of it is known on the
host: the table reads nothing back, and goes to the device in one copy.

A token's keys come in blocks that start where its row's own keys, its prefix or the header start,
never where the tile does. Blocks of a neighbour are hidden from it, and adding them changes no bit:
so what a row comes to does not depend on its company.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .call import Layout
from .runs import EXTENT, Array, Kind, Runs, counted

FIELDS = ("q_start", "q_stop", "own", "own_stop", "header", *EXTENT)
"""Columns of ``Tiles.table``. ``q_start``, ``q_stop``: its query tokens. ``own``, ``own_stop``: its
blocks of own keys, see ``Tiles.blocks``. ``header``, ``prefix``: how many of those keys there are;
all its tokens see them. ``k`` ... ``v_scale``: addresses of the prefix, 0 where there is none. The
rest: its strides, in elements, 0 along what has one scale only."""

LAYOUT = np.dtype([(name, np.int64) for name in FIELDS])
"""A tile: ``len(FIELDS)`` int64 without gaps."""

BLOCK = 256
"""More keys than a block has: a block is its first key times this, plus how many there are."""

ADDRESSES = slice(FIELDS.index("k"), FIELDS.index("v_scale") + 1)
"""Where a tile's row has them."""


class Cut(NamedTuple):
    """The size of a program's work."""

    rows: int
    """Packed rows of a tile: query tokens times group, at most."""
    keys: int
    """Of a block; less than ``BLOCK``."""


class Part(NamedTuple):
    """Tiles ``[first, stop)`` of a table: those whose prefixes are of one kind."""

    kind: Kind
    first: int
    stop: int


@dataclass(frozen=True, eq=False)
class Tiles:
    """The tiles of one call. They hold addresses: keep the call's tensors alive.

    Every query token is in exactly one tile. Padding tokens are in tiles that see no key, not even
    the header: whoever computes all tiles has written all of the output.
    """

    table: NDArray[Any]
    """[tiles] of LAYOUT: longest prefixes first, a document's tiles side by side."""
    first: Array
    """[total_q]: the first own key of the token's row. It sees own keys ``first <= key <= last``;
    of a padding token ``last`` is -1."""
    last: Array
    """[total_q]."""
    blocks: Array
    """Own keys, block by block, in no order that matters: see ``BLOCK``."""
    parts: tuple[Part, ...]
    """One a kind, together the whole table; nearly always there is one, or none."""
    run: Array
    """[tiles]: the tile's run, see ``Layout.runs``; the number of them if it is padding."""

    @classmethod
    def of(cls, rows: Layout, cut: Callable[[Kind], Cut]) -> Self:
        """``cut``: how large tiles with prefixes of a kind are, and blocks.

        Raises ValueError where not one token fits.
        """
        first, last = _visible(rows)
        runs = Runs.of(rows)
        cuts = [cut(kind) for kind in runs.kinds]
        run, start, stop = runs.cut([_tokens(each, rows.group) for each in cuts])
        table = np.zeros(len(run), LAYOUT)
        table["q_start"], table["q_stop"] = start, stop
        keys = np.array([each.keys for each in cuts], np.int64)[runs.kind[run]]
        blocks, table["own"], table["own_stop"] = _blocks(rows, last, start, stop, keys)
        table["header"] = np.where(start < rows.cu_q[-1], rows.header, 0)
        for name, column in zip(EXTENT, runs.extents[run].T, strict=True):
            table[name] = column
        kind, own = runs.kind[run], table["own_stop"] - table["own"]
        # Long ones first: what is started last decides when the launch ends.
        order = np.lexsort((-own, run, -table["prefix"], kind))
        ends = np.searchsorted(kind[order], np.arange(len(runs.kinds) + 1)).tolist()
        spans = zip(runs.kinds, ends, ends[1:], strict=False)
        parts = tuple(Part(*span) for span in spans if span[1] < span[2])
        return cls(table[order], first, last, blocks, parts, run[order])

    @property
    def aligned(self) -> bool:
        """Whether every head's prefix starts at 16 bytes, and so do its tokens."""
        bits = np.zeros((), np.int64)
        for name in ("k", "v", "k_token", "k_head", "v_token", "v_head"):
            bits |= np.bitwise_or.reduce(self.table[name], initial=0)
        return int(bits) % 16 == 0

    @property
    def stride(self) -> int:
        """The largest from one token of a prefix to the next, or from one scale to the next."""
        names = [name for name in FIELDS if name.endswith("_token")]
        return max(int(self.table[name].max(initial=0)) for name in names)

    def packed(self) -> Array:
        """``table``, ``first``, ``last`` and ``blocks`` in one array: what a device is sent."""
        return np.concatenate([self.table.view(np.int64), self.first, self.last, self.blocks])


def _tokens(cut: Cut, group: int) -> int:
    if cut.rows < group:
        raise ValueError(f"tiles of {cut.rows} packed rows; one query token has {group}")
    assert cut.keys < BLOCK, f"a block of {cut.keys} keys does not fit its number"
    return cut.rows // group


def _visible(rows: Layout) -> tuple[Array, Array]:
    """First and last own key of each query token."""
    cu_q, cu_k = np.asarray(rows.cu_q, np.int64), np.asarray(rows.cu_k, np.int64)
    used, queries = int(cu_q[-1]), np.diff(cu_q)
    first, last = np.zeros(rows.total_q, np.int64), np.full(rows.total_q, -1, np.int64)
    first[:used] = np.repeat(cu_k[:-1], queries)
    last[:used] = np.repeat(cu_k[1:] - cu_q[1:], queries) + np.arange(used)
    return first, last


def _blocks(
    rows: Layout, last: Array, start: Array, stop: Array, keys: Array
) -> tuple[Array, Array, Array]:
    """Of tiles of tokens ``[start, stop)``: all blocks, and of each tile its first and its stop.

    A tile takes of each of its rows what that row's last token in it sees.
    """
    cu_q, cu_k = np.asarray(rows.cu_q, np.int64), np.asarray(rows.cu_k, np.int64)
    # Its rows; padding has none.
    low = np.searchsorted(cu_q, start, side="right") - 1
    tile, within = counted(np.where(start < cu_q[-1], np.searchsorted(cu_q, stop) - low, 0))
    row = low[tile] + within
    key = cu_k[row]
    seen = last[np.minimum(stop[tile], cu_q[row + 1]) - 1] + 1 - key
    span, block = counted(-(-seen // keys[tile]))
    at = block * keys[tile[span]]
    count = np.minimum(seen[span] - at, keys[tile[span]])
    ends = np.searchsorted(tile[span], np.arange(len(start) + 1))
    return (key[span] + at) * BLOCK + count, ends[:-1], ends[1:]
