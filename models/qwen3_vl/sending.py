"""Small tensors made on the host, to where the model is."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(host: Tensor, device: torch.device) -> Tensor:
    """``host`` on ``device``; to CUDA through pinned memory.

    The host waits neither for the copy nor for the kernels queued before it.
    """
    pinned = host.pin_memory() if device.type == "cuda" and host.device.type == "cpu" else host
    return pinned.to(device, non_blocking=True)
