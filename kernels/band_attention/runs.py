"""Stretches of query tokens with one document: how long their tiles may be, and where it lies."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from .call import QUANTISED, Extent, Layout

EXTENT = (
    *("prefix", "k", "v", "k_scale", "v_scale"),
    *("k_token", "k_head", "v_token", "v_head"),
    *("k_scale_token", "k_scale_head", "k_scale_channel", "v_scale_token", "v_scale_head"),
)
"""What a tile's row in the table says of its prefix; see ``tiles.FIELDS``."""

_OWN = 512
"""Own keys a tile sees, about, where it takes tokens of several rows. Each of those sees its own
row's alone: with few queries and many keys a row, long tiles would leave most of a device idle."""

Array: TypeAlias = NDArray[np.int64]


class Kind(NamedTuple):
    """How prefixes are kept: one kernel for each."""

    k: torch.dtype
    v: torch.dtype
    by_channel: bool = False
    """Whether K's scales are one a channel."""

    @property
    def quantised(self) -> bool:
        """Whether there are scales."""
        return self.k in QUANTISED


class Runs(NamedTuple):
    """Stretches of query tokens with one prefix; the last one is the padding, if there is any."""

    bounds: Array
    """[runs + 1] query tokens."""
    limit: Array
    """[runs] tokens a tile may have, block aside."""
    extents: Array
    """[runs, len(EXTENT)]."""
    kinds: list[Kind]
    """Those there are."""
    kind: Array
    """[runs]: the index of each one's."""

    @classmethod
    def of(cls, rows: Layout) -> Runs:
        """Those of ``rows``."""
        spans = rows.runs()
        bounds = [rows.cu_q[row] for row, _ in spans] + [rows.cu_q[-1]]
        found = [rows.prefixes[row] for row, _ in spans]
        full = [None if part is None or not len(part.k) else part for part in found]
        limits = _limits(rows, [row for row, _ in spans]).tolist()
        plain = Kind(rows.dtype, rows.dtype)
        kinds = [plain if part is None else _kind(part) for part in full]
        if rows.total_q > rows.cu_q[-1]:
            # Padding is zero by any kernel.
            kinds.append(kinds[0] if kinds else plain)
            bounds, full, limits = [*bounds, rows.total_q], [*full, None], [*limits, rows.total_q]
        distinct = list(dict.fromkeys(kinds))
        return cls(
            np.array(bounds, np.int64),
            np.array(limits, np.int64),
            np.array([_columns(part) for part in full], np.int64).reshape(-1, len(EXTENT)),
            distinct,
            np.array([distinct.index(kind) for kind in kinds], np.int64),
        )

    def cut(self, tokens: list[int]) -> tuple[Array, Array, Array]:
        """Of each tile its run, first token and stop; ``tokens``: the most, by kind."""
        most = np.minimum(self.limit, np.array(tokens, np.int64)[self.kind])
        run, within = counted(-(-np.diff(self.bounds) // most))
        start = self.bounds[run] + within * most[run]
        return run, start, np.minimum(start + most[run], self.bounds[run + 1])


def _limits(rows: Layout, firsts: list[int]) -> Array:
    """Tokens a tile of a run takes before its own keys pass ``_OWN``; one whole row at least."""
    if not firsts:
        return np.zeros(0, np.int64)
    queries, keys = np.diff(np.asarray(rows.cu_q)), np.diff(np.asarray(rows.cu_k))
    several = _OWN * np.add.reduceat(queries, firsts) // np.add.reduceat(keys, firsts)
    limits: Array = np.maximum(np.maximum.reduceat(queries, firsts), several)
    return limits


def _kind(extent: Extent) -> Kind:
    return Kind(extent.k.dtype, extent.v.dtype, extent.by_channel)


def _columns(extent: Extent | None) -> tuple[int, ...]:
    """Tokens, addresses and strides, in the order of ``EXTENT``."""
    if extent is None:
        return (0,) * len(EXTENT)
    k, v, k_scale, v_scale = extent
    values = *k.stride()[:2], *v.stride()[:2]
    if k_scale is None or v_scale is None:
        return len(k), k.data_ptr(), v.data_ptr(), 0, 0, *values, 0, 0, 0, 0, 0
    scales = k_scale.data_ptr(), v_scale.data_ptr()
    strides = *_strides(k_scale), *_strides(v_scale)[:2]
    return len(k), k.data_ptr(), v.data_ptr(), *scales, *values, *strides


def _strides(scale: torch.Tensor) -> tuple[int, ...]:
    """0 along dimensions of one."""
    pairs = zip(scale.shape, scale.stride(), strict=True)
    return tuple(stride if size > 1 else 0 for size, stride in pairs)


def counted(counts: Array) -> tuple[Array, Array]:
    """Index i as often as ``counts[i]`` says, and beside it 0, 1, ... for each i."""
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
