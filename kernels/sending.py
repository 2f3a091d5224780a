"""Small tensors made on the host, to where they are computed with."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(host: Tensor, device: torch.device) -> Tensor:
    """``host`` on ``device``; to CUDA through pinned memory.

    The host waits neither for the copy nor for the kernels queued before it.
    """
    return staged(host, device).to(device, non_blocking=True)


def staged(host: Tensor, device: torch.device) -> Tensor:
    """``host`` where ``device`` can fetch it: in pinned memory, if that is a CUDA one."""
    return host.pin_memory() if device.type == "cuda" and host.device.type == "cpu" else host
