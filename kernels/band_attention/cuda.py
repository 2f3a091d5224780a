"""Band attention in CUDA C++: tensor cores, documents read where they lie.

``csrc/band_attention.cuh`` has the kernel. It is built for the device at hand when it is first
used, by nvcc or NVRTC, and kept (``cuda_build.py``). A block takes the packed query rows of a tile
(``tiles.py``) over header, prefix and own keys; int8 and float8 prefixes are widened on the chip.
Each warp has rows of its own, which no other row and no number of warps changes by a bit.

The tests build it for sm_80 and sm_90a and run its source, instruction by instruction, on the host;
it has not been run on a device yet, nor timed.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from minireranker.errors import ConfigurationError

from .call import Call, Extent
from .cuda_build import Variant, cubin_of
from .cuda_compilers import find_compiler
from .cuda_driver import Kernel, find_driver
from .cuda_table import Work
from .parts import no_device

__all__ = [
    "ELEMENTS",
    "HEAD_DIMS",
    "WARPS",
    "aligned",
    "attend",
    "requirement",
    "shared_bytes",
    "warps_of",
]

ELEMENTS = {torch.bfloat16: "Bf16", torch.float16: "Fp16"}
HEAD_DIMS = (16, 32, 64, 80, 128)
WARPS = (4, 6, 8)
"""Warps of a block; each has sixteen packed rows."""

_ROWS = 16
_BOUNDARY = 16
"""Bytes: what one copy to shared memory takes."""


def requirement(device: torch.device) -> str | None:
    """A GPU of compute capability 8.0 or more, its driver, and a compiler."""
    reason = no_device("cuda", device)
    if reason is not None:
        return reason
    if find_driver() is None:
        return "band_attention's backend 'cuda' finds no libcuda.so.1; take backend='auto'"
    if find_compiler() is None:
        return (
            "band_attention's backend 'cuda' is built when first used, and there is neither nvcc "
            "on PATH nor libnvrtc: install nvidia-cuda-nvrtc or the CUDA toolkit, or take "
            "backend='auto'"
        )
    return None


def attend(call: Call) -> tuple[Tensor, Tensor | None]:
    """See ``band_attention``.

    Raises ConfigurationError for a dtype, head or group there is no kernel of, and where the kernel
    cannot be built.
    """
    _check(call)
    call = aligned(call)
    warps = warps_of(call)
    work = Work.of(call, warps * _ROWS)
    with torch.cuda.device(call.q.device):
        kernel = _load(ELEMENTS[call.q.dtype], call.q.shape[2], warps, torch.cuda.current_device())
        stream = torch.cuda.current_stream().cuda_stream
        for tiles, launch in work.launches():
            kernel.launch((tiles, call.k.shape[1]), stream, launch)
    return work.out, work.lse


def warps_of(call: Call) -> int:
    """Those that cut the longest run into the fewest tiles, and of these the fewest."""
    group = call.group
    tokens = max((call.cu_q[stop] - call.cu_q[row] for row, stop in call.runs()), default=1)
    fitting = [warps for warps in WARPS if warps * _ROWS >= group]
    return min(fitting, key=lambda warps: (-(-tokens // (warps * _ROWS // group)), warps))


def aligned(call: Call) -> Call:
    """The call with whatever the kernel cannot read in place copied: what does not start, or go on
    from token to token and head to head, at multiples of 16 bytes, or is not adjacent."""
    q, k, v = (_aligned(tensor) for tensor in (call.q, call.k, call.v))
    extents = (call.header, *call.prefixes)
    # A run is the same object: it stays one.
    moved = {id(extent): _aligned_extent(extent) for extent in extents}
    header, *prefixes = (moved[id(extent)] for extent in extents)
    before, after = (call.q, call.k, call.v, *extents), (q, k, v, header, *prefixes)
    if all(new is old for new, old in zip(after, before, strict=True)):
        return call
    return Call(q, k, v, call.cu_q, call.cu_k, header, prefixes, call.lse)


def shared_bytes(head_dim: int) -> int:
    """Of a block: two chunks of 64 keys, K and V, and their scales; ``band::Shared``."""
    return 2 * 2 * 64 * (2 * head_dim + 16 + 4)


def _aligned_extent(extent: Extent | None) -> Extent | None:
    if extent is None:
        return None
    k, v = _aligned(extent.k), _aligned(extent.v)
    return extent if k is extent.k and v is extent.v else extent._replace(k=k, v=v)


def _aligned(tensor: Tensor) -> Tensor:
    size = tensor.element_size()
    offsets = tensor.data_ptr(), *(size * stride for stride in tensor.stride()[:2])
    if tensor.stride(2) == 1 and all(offset % _BOUNDARY == 0 for offset in offsets):
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def _check(call: Call) -> None:
    if call.q.dtype not in ELEMENTS:
        raise ConfigurationError(
            "band_attention's backend 'cuda' is for bfloat16 and float16, not "
            f"{call.q.dtype}; take another dtype or backend='auto'"
        )
    if call.q.shape[2] not in HEAD_DIMS:
        raise ConfigurationError(
            f"band_attention's backend 'cuda' is for heads of {', '.join(map(str, HEAD_DIMS))} "
            f"numbers, not {call.q.shape[2]}; take backend='auto'"
        )
    if call.group > WARPS[-1] * _ROWS:
        raise ConfigurationError(
            f"band_attention's backend 'cuda' takes at most {WARPS[-1] * _ROWS} query heads a KV "
            f"head, not {call.group}; take backend='auto'"
        )


@functools.cache
def _load(element: str, head_dim: int, warps: int, device: int) -> Kernel:
    """The kernel in the context of ``device``, which is the current one."""
    compiler = find_compiler()
    assert compiler is not None, "requirement() was asked"
    variant = Variant(element, head_dim, warps, _architecture(device))
    cubin = cubin_of(variant, compiler)
    return Kernel(cubin, "band_attention", threads=warps * 32, shared=shared_bytes(head_dim))


def _architecture(device: int) -> str:
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}" + ("a" if (major, minor) == (9, 0) else "")
