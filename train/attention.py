"""Attention with a gradient over packed rows: who sees whom is a list of sequences.

A sequence is some query rows, some key rows, and which of them meet. Sequences of a group are
padded to the longest and go through one call of torch's attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minireranker.models.qwen3_vl import Projected


@dataclass(frozen=True, eq=False)
class Meeting:
    """Rows that attend, rows they attend to, and which to which."""

    queries: NDArray[np.int64]
    """[q] rows of Q."""
    keys: NDArray[np.int64]
    """[k] rows of K and V."""
    sees: NDArray[np.bool_]
    """[q, k]; every query sees something."""


@dataclass(frozen=True, eq=False)
class _Group:
    queries: Tensor
    keys: Tensor
    mask: Tensor

    def __call__(self, heads: Projected) -> Tensor:
        """[sequences * longest, heads, head_dim]."""
        q = heads.q[self.queries].transpose(1, 2)
        k, v = (_spread(part[self.keys].transpose(1, 2), q.shape[1]) for part in heads[1:])
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        return out.transpose(1, 2).flatten(0, 1)


class Attention:
    """All that is attended to in one layer."""

    def __init__(
        self, groups: Sequence[Sequence[Meeting]], rows: int, device: torch.device
    ) -> None:
        """``groups``: sequences that are alike in length; each row of Q is in at most one.

        ``rows``: of Q, padding included; a row in no sequence gets what some other row gets.
        """
        self._groups = [_group(group, device) for group in groups if group]
        where = np.zeros(rows, np.int64)
        at = 0
        for group in groups:
            longest = max((len(item.queries) for item in group), default=0)
            for item in group:
                where[item.queries] = at + np.arange(len(item.queries))
                at += longest
        self._where = torch.from_numpy(where).to(device)

    def __call__(self, heads: Projected) -> Tensor:
        """Attended heads [rows, heads, head_dim] of ``heads``."""
        found = [group(heads) for group in self._groups]
        return torch.cat(found)[self._where]


def causal(rows: NDArray[np.int64], before: NDArray[np.int64]) -> Meeting:
    """One segment: each row sees ``before``, the rows ahead of it, and itself."""
    sees = np.tri(len(rows), len(before) + len(rows), len(before), dtype=np.bool_)
    return Meeting(rows, np.concatenate((before, rows)), sees)


def side_by_side(parts: Sequence[NDArray[np.int64]], before: NDArray[np.int64]) -> Meeting:
    """Several segments that all see ``before`` and not each other."""
    rows = np.concatenate(parts)
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    own = np.tri(len(rows), dtype=np.bool_) & (owner[:, None] == owner)
    seen = np.ones((len(rows), len(before)), np.bool_)
    return Meeting(rows, np.concatenate((before, rows)), np.concatenate((seen, own), axis=1))


def _group(group: Sequence[Meeting], device: torch.device) -> _Group:
    """Padded: a query that is none sees the first key, a key that is none is seen by nobody."""
    height = max(len(item.queries) for item in group)
    width = max(len(item.keys) for item in group)
    queries = np.zeros((len(group), height), np.int64)
    keys = np.zeros((len(group), width), np.int64)
    mask = np.zeros((len(group), 1, height, width), np.bool_)
    for at, item in enumerate(group):
        q, k = item.sees.shape
        queries[at, :q], keys[at, :k] = item.queries, item.keys
        mask[at, 0, :q, :k] = item.sees
        mask[at, 0, q:, 0] = True
    return _Group(*(torch.from_numpy(part).to(device) for part in (queries, keys, mask)))


def _spread(heads: Tensor, count: int) -> Tensor:
    """Each K/V head once for every head of its group: [n, kv_heads, ...] -> [n, count, ...]."""
    return heads.repeat_interleave(count // heads.shape[1], dim=1)
