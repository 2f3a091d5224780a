"""The same numbers again: seeds for each batch, and operations that add in a settled order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Operations that add in a settled order only, as far as the device has them.

    On a CPU all that training uses are; on a GPU an operation without such a form runs anyway, so
    a run there is repeated up to rounding.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    # Poisoning new memory finds bugs and costs time; nothing here reads what it has not written.
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        memory.fill_uninitialized_memory = fill


@contextmanager
def seeded(device: torch.device, *numbers: int) -> Iterator[None]:
    """Dropout by ``numbers`` alone, whatever was drawn before; the caller's own draws go on."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))
        yield
