"""How band attention's Triton kernel is cut: a function of dtypes, head_dim and group alone.

How much there is in a call has no say: other blocks would add the same numbers in another order,
and a row's last bits would depend on its company. Tiles of 64 packed rows are a warp group's
(sm_90); forty suffix tokens of two heads each fill two of them as well as one of 128, and half as
much of a tile is empty where a document has but one query token. What is smaller is so because it
was seen to spill registers otherwise, for sm_80 and sm_90 (Triton 3.9). Not yet tuned on a device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from .call import Call
from .runs import Kind
from .tiles import Cut


class Target(NamedTuple):
    """What a device gives."""

    capability: tuple[int, int]
    """Compute capability."""
    shared: int
    """Bytes of shared memory a block may have."""


class Numbers(NamedTuple):
    """What a model's calls have in common."""

    dtype: torch.dtype
    """Of queries and own keys."""
    head_dim: int
    group: int
    """Query heads of one KV head."""

    @classmethod
    def of(cls, call: Call) -> Numbers:
        """Those of a call."""
        return cls(call.q.dtype, call.q.shape[2], call.group)


@dataclass(frozen=True)
class Launch:
    """How one launch is cut."""

    rows: int
    """Packed query rows of a program: a power of two, at least 16."""
    keys: int
    """Keys at a time."""
    num_warps: int
    num_stages: int

    @property
    def cut(self) -> Cut:
        """The same for tiles."""
        return Cut(self.rows, self.keys)


def power_of_two(number: int) -> int:
    """The least power of two that is not smaller."""
    return 1 << max(0, number - 1).bit_length()


def dim_of(head_dim: int) -> int:
    """What a head takes in a block."""
    return max(16, power_of_two(head_dim))


def launch_of(numbers: Numbers, kind: Kind, target: Target) -> Launch:
    """For prefixes of ``kind``."""
    dim, least = dim_of(numbers.head_dim), power_of_two(numbers.group)
    if numbers.dtype is torch.float32:
        return Launch(max(32, least), 16, num_warps=8, num_stages=2)
    recent = target.capability >= (9, 0)
    rows = max(64, least)
    keys = 64 if dim <= 128 and recent and not kind.quantised else 32
    # A stage is a block of K and V; queries and weights may take the rest.
    stage, rest = 4 * keys * dim, 2 * rows * (dim + keys)
    stages = max(1, min(3, (target.shared - rest) // stage))
    warps = 8 if rows >= 128 or rows * dim > 8192 else 4
    return Launch(rows, keys, warps, stages)
