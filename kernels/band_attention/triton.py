"""Band attention on CUDA devices in Triton: a program a (tile, KV head), a launch a kind of prefix.

``tiles.py`` says what a tile is, ``triton_kernel.py`` what a program does with it. The heads of a
tile are neighbouring programs: they read the same tokens of a pool at about the same time. Nothing
is split along the keys: a hundred candidates times eight KV heads fill a device even with one query
token each, and few candidates are quick anyway.

Rows of one document share tiles; a row's output has the same bits in any company, unless that has
a NaN among its own values, which reaches the tile's other rows. float32 is multiplied in float32:
TF32 would keep ten bits of each factor. Compiled for sm_80 and sm_90 and run by Triton's
interpreter in the tests; not yet measured on a device.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from minireranker.errors import ConfigurationError
from minireranker.kernels.sending import sent

from .call import Call
from .launches import Numbers
from .tiles import Tiles
from .triton_kernel import kernel
from .triton_launch import Work, cut_of, launch, target_of

__all__ = ["attend", "check", "requirement"]


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
    """See ``Call``. Raises ConfigurationError for numbers the kernel cannot do."""
    q, numbers = call.q, Numbers.of(call)
    check(numbers)
    tiles = Tiles.of(call.layout, cut_of(numbers, target_of(q.device)))
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device) if call.lse else None
    work = Work.of(tiles, sent(torch.from_numpy(tiles.packed()), q.device))
    launch(work, (q, call.k, call.v), call.header, out, lse)
    return out, lse


def check(numbers: Numbers) -> None:
    """Raise ConfigurationError for numbers the kernel cannot do."""
    if numbers.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ConfigurationError(
            f"band_attention's backend 'triton' has no {numbers.dtype}, only float32, bfloat16 and "
            "float16; take backend='reference'"
        )
    if numbers.head_dim > 256:
        raise ConfigurationError(
            "band_attention's backend 'triton' has heads of at most 256, not "
            f"{numbers.head_dim}; take backend='sdpa'"
        )
