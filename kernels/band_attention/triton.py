"""Band attention on CUDA devices in one Triton launch: a program a (tile, KV head).

``tiles.py`` says what a tile is, ``triton_kernel.py`` what a program does with it. The heads of a
tile are neighbouring programs: they read the same tokens of a pool at about the same time. Nothing
is split along the keys: a hundred candidates times eight KV heads fill a device even with one query
token each, and few candidates are quick anyway.

Rows of one document share tiles. So the last bits of a row's output may depend on the other rows
of its document, and a NaN among one's own values reaches the others. float32 is multiplied in
float32: TF32 would keep ten bits of each factor. Compiled for sm_80 and sm_90 and run by Triton's
interpreter in the tests; not yet measured on a device.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from minireranker.errors import ConfigurationError

from .call import QUANTISED, Call, Extent
from .launches import Launch, Target, dim_of, launch_of, longest_run
from .tiles import FIELDS, Part, Tiles
from .triton_kernel import kernel

__all__ = ["attend", "check", "constants", "kernel", "options", "requirement"]

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


def requirement(device: torch.device) -> str | None:
    """See ``Call``. Triton's interpreter takes tensors of any device."""
    if not isinstance(kernel, triton.JITFunction):
        return None
    if device.type != "cuda":
        return (
            f"band_attention's backend 'triton' runs on CUDA devices, not on {device}; take "
            "backend='auto'"
        )
    if not torch.cuda.is_available():
        return "band_attention's backend 'triton' finds no CUDA device; take backend='auto'"
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 0):
        return (
            "band_attention's backend 'triton' needs compute capability 8.0 or later, "
            f"{device} has {'.'.join(map(str, capability))}; take backend='sdpa'"
        )
    return None


def attend(call: Call) -> tuple[Tensor, Tensor | None]:
    """See ``Call``. Raises ConfigurationError for numbers the kernel, or the device, cannot do."""
    q = call.q
    interpreted = not isinstance(kernel, triton.JITFunction)
    target = _INTERPRETER if interpreted else _target(q.device)
    check(call, target)
    tiles = Tiles.of(call, launch_of(call, longest_run(call), target).rows)
    # Tiles may have turned out shorter than the longest that was allowed.
    launch = launch_of(call, tiles.tokens * call.group, target)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device) if call.lse else None
    tensors, sizes = _arguments(call)
    table = _sent(tiles, q.device)
    with torch.cuda.device(q.device if q.is_cuda else -1):
        for part in tiles.parts:
            places = part.first, len(tiles.table) * len(FIELDS), call.total_q
            outputs = table, out, out if lse is None else lse
            fixed = constants(call, tiles, part, launch, interpreted=interpreted)
            grid = ((part.stop - part.first) * call.k.shape[1],)
            kernel[grid](*tensors, *outputs, *places, *sizes, **fixed, **options(launch))
    return out, lse


def check(call: Call, target: Target) -> None:
    """Raise ConfigurationError for numbers the kernel, or the target's compiler, cannot do."""
    dtype, head_dim = call.q.dtype, call.q.shape[2]
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ConfigurationError(
            f"band_attention's backend 'triton' has no {dtype}, only float32, bfloat16 and "
            "float16; take backend='reference'"
        )
    if head_dim > 256:
        raise ConfigurationError(
            f"band_attention's backend 'triton' has heads of at most 256, not {head_dim}; take "
            "backend='sdpa'"
        )
    fp8 = any(
        extent is not None and torch.float8_e4m3fn in (extent.k.dtype, extent.v.dtype)
        for extent in (call.prefixes[row] for row, _ in call.runs())
    )
    if fp8 and target.capability < _FP8:
        raise ConfigurationError(
            "band_attention's backend 'triton' converts float8_e4m3fn from compute capability "
            f"8.9 on, this device has {'.'.join(map(str, target.capability))}; keep prefixes in "
            "int8, or take backend='sdpa'"
        )


def options(launch: Launch) -> dict[str, Any]:
    """How the kernel is compiled."""
    return {
        "num_warps": launch.num_warps,
        "num_stages": launch.num_stages,
        "enable_fp_fusion": True,
    }


def constants(
    call: Call, tiles: Tiles, part: Part, launch: Launch, *, interpreted: bool = False
) -> dict[str, Any]:
    """The kernel's compile-time arguments for one part of the tiles."""
    head_dim = call.q.shape[2]
    dtype = call.q.dtype
    if interpreted and dtype is torch.bfloat16:
        dtype = torch.float32  # The interpreter's products of bfloat16 are wrong.
    _, sizes = _arguments(call)
    strides = [name for name in FIELDS if name.endswith("_token")]
    furthest = max(int(tiles.table[name].max(initial=0)) for name in strides)
    near = max(furthest, *sizes[1:-1]) * launch.keys < 2**31
    return {
        "DTYPE": _TRITON[dtype],
        "K_DTYPE": _TRITON[part.k],
        "V_DTYPE": _TRITON[part.v],
        "OFFSET": tl.int32 if near else tl.int64,
        "SCALED": part.k in QUANTISED,
        "ALIGNED": tiles.aligned,
        "LSE": call.lse,
        "GROUP": call.group,
        "HEAD_DIM": head_dim,
        "DIM": dim_of(head_dim),
        "ROWS": launch.rows,
        "KEYS": launch.keys,
    }


def _arguments(call: Call) -> tuple[list[Tensor], list[int | float]]:
    """Queries, own and header K/V; then KV heads, strides and the scale in base 2."""
    # Without a header all tiles have a header of length 0: what stands there is never read.
    header = call.header or Extent(call.k, call.v)
    parts = (call.q, call.k, call.v, header.k, header.v)
    tensors = [part if part.stride(2) == 1 else part.contiguous() for part in parts]
    strides = [stride for part in tensors for stride in part.stride()[:2]]
    return tensors, [call.k.shape[1], *strides, call.scale * _LOG2_E]


def _sent(tiles: Tiles, device: torch.device) -> Tensor:
    """The table on the device, in one copy that waits for nothing."""
    packed = torch.from_numpy(tiles.packed())
    if device.type == "cuda":
        packed = packed.pin_memory()
    return packed.to(device, non_blocking=True)


def _target(device: torch.device) -> Target:
    properties = torch.cuda.get_device_properties(device)
    # Without the larger amount, which a launch opts into, fewer stages fit.
    usual = properties.shared_memory_per_block
    shared = int(getattr(properties, "shared_memory_per_block_optin", usual))
    return Target((properties.major, properties.minor), shared)
