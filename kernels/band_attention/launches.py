"""How band attention's Triton kernel is cut: a function of a call's shapes and dtypes alone.

The table is the largest blocks that were seen to compile without spilled registers, for sm_80 and
sm_90 (Triton 3.9). Not yet tuned on a device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from .call import Call


class Target(NamedTuple):
    """What a device gives."""

    capability: tuple[int, int]
    """Compute capability."""
    shared: int
    """Bytes of shared memory a block may have."""


@dataclass(frozen=True)
class Launch:
    """How one launch is cut."""

    rows: int
    """Packed query rows of a program: a power of two, at least 16."""
    keys: int
    """Keys at a time."""
    num_warps: int
    num_stages: int


def power_of_two(number: int) -> int:
    """The least power of two that is not smaller."""
    return 1 << max(0, number - 1).bit_length()


def dim_of(head_dim: int) -> int:
    """What a head takes in a block."""
    return max(16, power_of_two(head_dim))


def longest_run(call: Call) -> int:
    """Packed rows (query tokens times group) of the longest run; those of one token at least."""
    tokens = (call.cu_q[stop] - call.cu_q[row] for row, stop in call.runs())
    return max(1, max(tokens, default=1)) * call.group


def launch_of(call: Call, packed: int, target: Target) -> Launch:
    """For tiles or runs of at most ``packed`` rows."""
    dtype, dim = call.q.dtype, dim_of(call.q.shape[2])
    if dtype is torch.float32:
        rows = max(_rows(packed, 32), power_of_two(call.group))
        return Launch(rows, 16, num_warps=8, num_stages=2)
    recent, quantised = target.capability >= (9, 0), _quantised(call)
    rows = _rows(packed, 64 if dim > 128 or (quantised and not recent) else 128)
    rows = max(rows, power_of_two(call.group))
    keys = 64 if dim <= 128 and (rows == 16 or (recent and not quantised)) else 32
    # A stage is a block of K and V; queries and weights may take the rest.
    stage, rest = 4 * keys * dim, 2 * rows * (dim + keys)
    stages = max(1, min(3, (target.shared - rest) // stage))
    warps = 8 if rows >= 128 or rows * dim > 8192 else 4
    return Launch(rows, keys, warps, stages)


def _rows(packed: int, most: int) -> int:
    """A block that leaves little of itself empty: half of the largest if that saves a fifth.

    A run of 160 rows is 3 x 64, not 2 x 128.
    """
    if packed <= most:
        return max(16, power_of_two(packed))
    whole, half = (-(-packed // block) * block for block in (most, most // 2))
    return most if 5 * half > 4 * whole else most // 2


def _quantised(call: Call) -> bool:
    prefixes = (call.prefixes[row] for row, _ in call.runs())
    return any(prefix is not None and prefix.k_scale is not None for prefix in prefixes)
