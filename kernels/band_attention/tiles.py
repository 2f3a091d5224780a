"""The work of one launch: which queries meet which keys, as one table for the device.

Query tokens of consecutive rows that share their document's extent are cut into tiles. A tile is
what one program computes for one KV head: its tokens times the heads of the group are the rows of
its products, and so a document's K/V is read once a tile, not once a row. All of it is known on the
host: the table reads nothing back, and goes to the device in one copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import dtype

from .call import Call, Extent

FIELDS = (
    *("q_start", "q_stop", "k_start", "k_stop", "header", "prefix"),
    *("k", "v", "k_scale", "v_scale"),
    *("k_token", "k_head", "v_token", "v_head"),
    *("k_scale_token", "k_scale_head", "v_scale_token", "v_scale_head"),
)
"""Columns of ``Tiles.table``. ``q_start``, ``q_stop``: its query tokens. ``k_start``, ``k_stop``:
the own keys that any of them sees. ``header``, ``prefix``: how many of those keys there are; all
its tokens see them. ``k`` ... ``v_scale``: addresses of the prefix, 0 where there is none. The
rest: its strides, in elements."""

LAYOUT = np.dtype([(name, np.int64) for name in FIELDS])
"""A tile: ``len(FIELDS)`` int64 without gaps."""

_EXTENT = FIELDS[FIELDS.index("prefix") :]

_OWN = 512
"""Own keys a tile sees, about, where it takes tokens of several rows. Each of those sees its own
row's alone: with few queries and many keys a row, long tiles would leave most of a device idle."""

Array: TypeAlias = NDArray[np.int64]


class Part(NamedTuple):
    """Tiles ``[first, stop)`` of a table, by the dtypes of their prefixes' K and V."""

    k: dtype
    v: dtype
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
    parts: tuple[Part, ...]
    """One a pair of dtypes, together the whole table; nearly always there is one, or none."""

    @classmethod
    def of(cls, call: Call, block: int) -> Self:
        """Tiles of at most ``block`` packed rows (query tokens times group).

        Raises ValueError where not one token fits.
        """
        if block < call.group:
            raise ValueError(f"tiles of {block} packed rows; one query token has {call.group}")
        first, last = _visible(call)
        runs = _Runs.of(call)
        run, start, stop = runs.cut(block // call.group)
        table = np.zeros(len(run), LAYOUT)
        table["q_start"], table["q_stop"] = start, stop
        table["k_start"], table["k_stop"] = first[start], last[stop - 1] + 1
        if call.header is not None:
            table["header"] = np.where(start < call.cu_q[-1], len(call.header.k), 0)
        for name, column in zip(_EXTENT, runs.extents[run].T, strict=True):
            table[name] = column
        kinds = list(dict.fromkeys(runs.kinds))
        kind = np.array([kinds.index(each) for each in runs.kinds], np.int64)[run]
        own = table["k_stop"] - table["k_start"]
        # Long ones first: what is started last decides when the launch ends.
        order = np.lexsort((-own, run, -table["prefix"], kind))
        ends = np.searchsorted(kind[order], np.arange(len(kinds) + 1)).tolist()
        spans = zip(kinds, ends, ends[1:], strict=False)
        parts = tuple(Part(k, v, begin, end) for (k, v), begin, end in spans)
        return cls(table[order], first, last, parts)

    @property
    def tokens(self) -> int:
        """Query tokens of the longest tile; 0 if there is none."""
        return int((self.table["q_stop"] - self.table["q_start"]).max(initial=0))

    @property
    def aligned(self) -> bool:
        """Whether every head's prefix starts at 16 bytes, and so do its tokens."""
        bits = np.zeros((), np.int64)
        for name in ("k", "v", "k_token", "k_head", "v_token", "v_head"):
            bits |= np.bitwise_or.reduce(self.table[name], initial=0)
        return int(bits) % 16 == 0

    def packed(self) -> Array:
        """``table``, ``first`` and ``last`` in one array, in this order: what a device is sent."""
        return np.concatenate([self.table.view(np.int64), self.first, self.last])


def _visible(call: Call) -> tuple[Array, Array]:
    """First and last own key of each query token."""
    cu_q, cu_k = np.asarray(call.cu_q, np.int64), np.asarray(call.cu_k, np.int64)
    used, queries = int(cu_q[-1]), np.diff(cu_q)
    first, last = np.zeros(call.total_q, np.int64), np.full(call.total_q, -1, np.int64)
    first[:used] = np.repeat(cu_k[:-1], queries)
    last[:used] = np.repeat(cu_k[1:] - cu_q[1:], queries) + np.arange(used)
    return first, last


class _Runs(NamedTuple):
    """Stretches of query tokens with one prefix; the last one is the padding, if there is any."""

    bounds: Array
    """[runs + 1] query tokens."""
    limit: Array
    """[runs] tokens a tile may have, block aside."""
    extents: Array
    """[runs, len(_EXTENT)]."""
    kinds: list[tuple[dtype, dtype]]
    """Dtypes of the prefix; where it is missing, such as make the fewest kinds."""

    @classmethod
    def of(cls, call: Call) -> _Runs:
        spans = call.runs()
        bounds = [call.cu_q[row] for row, _ in spans] + [call.cu_q[-1]]
        found = [call.prefixes[row] for row, _ in spans]
        limit = [_limit(call, *span) for span in spans]
        if call.total_q > call.cu_q[-1]:
            bounds, found, limit = [*bounds, call.total_q], [*found, None], [*limit, call.total_q]
        full = [None if part is None or not len(part.k) else part for part in found]
        there = [(part.k.dtype, part.v.dtype) for part in full if part is not None]
        usual = there[0] if there else (call.q.dtype, call.q.dtype)
        return cls(
            np.array(bounds, np.int64),
            np.array(limit, np.int64),
            np.array([_columns(part) for part in full], np.int64).reshape(-1, len(_EXTENT)),
            [usual if part is None else (part.k.dtype, part.v.dtype) for part in full],
        )

    def cut(self, tokens: int) -> tuple[Array, Array, Array]:
        """Of each tile of at most ``tokens`` query tokens: its run, first token, and stop."""
        most = np.minimum(self.limit, tokens)
        counts = -(-np.diff(self.bounds) // most)
        run = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts)
        start = self.bounds[run] + within * most[run]
        return run, start, np.minimum(start + most[run], self.bounds[run + 1])


def _limit(call: Call, row: int, stop: int) -> int:
    """Tokens a tile of the run takes before its own keys pass ``_OWN``; one whole row at least."""
    cu_q, cu_k = call.cu_q, call.cu_k
    queries, keys = cu_q[stop] - cu_q[row], cu_k[stop] - cu_k[row]
    longest = max(cu_q[at + 1] - cu_q[at] for at in range(row, stop))
    return max(longest, _OWN * queries // keys)


def _columns(extent: Extent | None) -> tuple[int, ...]:
    """Tokens, addresses and strides, in the order of ``_EXTENT``."""
    if extent is None:
        return (0,) * len(_EXTENT)
    k, v, k_scale, v_scale = extent
    values = *k.stride()[:2], *v.stride()[:2]
    if k_scale is None or v_scale is None:
        return len(k), k.data_ptr(), v.data_ptr(), 0, 0, *values, 0, 0, 0, 0
    scales = k_scale.data_ptr(), v_scale.data_ptr()
    strides = *k_scale.stride(), *v_scale.stride()
    return len(k), k.data_ptr(), v.data_ptr(), *scales, *values, *strides
