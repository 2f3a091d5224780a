"""Starting band attention's Triton kernel on a table that is on the device already.

Of what is known here only the number of tiles depends on how much a batch has: whoever keeps that,
and the table's place, may record the launch and repeat it with another table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .call import Extent
from .launches import Launch, Numbers, Target, dim_of, launch_of
from .runs import Kind
from .tiles import FIELDS, Cut, Part, Tiles
from .triton_kernel import kernel

__all__ = ["Work", "constants", "cut_of", "launch", "options", "target_of"]

_TRITON = {
    torch.float32: tl.float32,
    torch.bfloat16: tl.bfloat16,
    torch.float16: tl.float16,
    torch.int8: tl.int8,
    torch.float8_e4m3fn: tl.float8e4nv,
}
_FP8 = (8, 9)
"""The least compute capability for which float8_e4m3fn can be compiled."""
_INTERPRETER = Target((9, 0), 227 * 1024)
"""What is launched there: what an sm_90 would get."""
_LOG2_E = 1.4426950408889634


@dataclass(frozen=True, eq=False)
class Work:
    """Tiles on the device. They hold addresses: keep their tensors alive."""

    table: Tensor
    """int64: as ``Tiles.packed``, maybe among others."""
    parts: tuple[Part, ...]
    """Tiles counted from the start of ``table``."""
    tokens_at: int
    """Where the tokens' first own keys start in ``table``."""
    total_q: int
    """Query tokens, padding included."""
    aligned: bool
    """See ``Tiles``; as for ``stride``."""
    stride: int

    @classmethod
    def of(cls, tiles: Tiles, table: Tensor) -> Work:
        """``table``: ``tiles.packed()`` on the device."""
        start = len(tiles.table) * len(FIELDS)
        return cls(table, tiles.parts, start, len(tiles.first), tiles.aligned, tiles.stride)


def target_of(device: torch.device) -> Target:
    """What ``device`` gives; what an sm_90 would, in Triton's interpreter."""
    if _interpreted():
        return _INTERPRETER
    properties = torch.cuda.get_device_properties(device)
    # Without the larger amount, which a launch opts into, fewer stages fit.
    usual = properties.shared_memory_per_block
    shared = int(getattr(properties, "shared_memory_per_block_optin", usual))
    return Target((properties.major, properties.minor), shared)


def cut_of(numbers: Numbers, target: Target) -> Callable[[Kind], Cut]:
    """How calls of these numbers are cut into tiles."""
    return lambda kind: launch_of(numbers, kind, target).cut


def launch(
    work: Work,
    projected: tuple[Tensor, Tensor, Tensor],
    header: Extent | None,
    out: Tensor,
    lse: Tensor | None = None,
) -> None:
    """Compute all tiles into ``out`` [total_q, heads, head_dim], contiguous, and ``lse``.

    ``projected``: q, k and v, see ``Call``. Nothing is waited for.
    """
    q, own_k, own_v = projected
    kv_heads, target = own_k.shape[1], target_of(q.device)
    numbers = Numbers(q.dtype, q.shape[2], q.shape[1] // kv_heads)
    # Without a header all tiles have a header of length 0: what stands there is never read.
    shared = (own_k, own_v) if header is None else header[:2]
    tensors = [part if part.stride(2) == 1 else part.contiguous() for part in (*projected, *shared)]
    strides = [stride for part in tensors for stride in part.stride()[:2]]
    outputs = work.table, out, out if lse is None else lse
    sizes = kv_heads, *strides, q.shape[2] ** -0.5 * _LOG2_E
    with torch.cuda.device(q.device if q.is_cuda else -1):
        for part in work.parts:
            plan = launch_of(numbers, part.kind, target)
            fixed = constants(
                numbers,
                part.kind,
                plan,
                target,
                aligned=work.aligned,
                near=max(work.stride, *strides) * plan.keys < 2**31,
                lse=lse is not None,
            )
            places = part.first, work.tokens_at, work.total_q
            grid = ((part.stop - part.first) * kv_heads,)
            kernel[grid](*tensors, *outputs, *places, *sizes, **fixed, **options(plan))


def options(plan: Launch) -> dict[str, Any]:
    """How the kernel is compiled."""
    return {
        "num_warps": plan.num_warps,
        "num_stages": plan.num_stages,
        "enable_fp_fusion": True,
    }


def constants(
    numbers: Numbers,
    kind: Kind,
    plan: Launch,
    target: Target,
    *,
    aligned: bool = True,
    near: bool = True,
    lse: bool = False,
) -> dict[str, Any]:
    """The kernel's compile-time arguments for prefixes of one kind.

    ``aligned``: see ``Tiles``. ``near``: whether places in a block fit 32 bits.
    """
    dtype = numbers.dtype
    if _interpreted() and dtype is torch.bfloat16:
        dtype = torch.float32  # The interpreter's products of bfloat16 are wrong.
    return {
        "DTYPE": _TRITON[dtype],
        "K_DTYPE": _loaded(kind.k, target),
        "V_DTYPE": _loaded(kind.v, target),
        "OFFSET": tl.int32 if near else tl.int64,
        "SCALES": (2 if kind.by_channel else 1) if kind.quantised else 0,
        "ALIGNED": aligned,
        "LSE": lse,
        "GROUP": numbers.group,
        "HEAD_DIM": numbers.head_dim,
        "DIM": dim_of(numbers.head_dim),
        "ROWS": plan.rows,
        "KEYS": plan.keys,
    }


def _loaded(dtype: torch.dtype, target: Target) -> Any:
    """What the kernel reads; bytes where the compiler does not convert float8."""
    if dtype is torch.float8_e4m3fn and target.capability < _FP8:
        return tl.uint8
    return _TRITON[dtype]


def _interpreted() -> bool:
    return not isinstance(kernel, triton.JITFunction)
