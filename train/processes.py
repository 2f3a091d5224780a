"""One process or several: each computes its own batches of a step, gradients are added up.

Several are started by ``accelerate launch``; without it this is one process, and accelerate is not
needed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.errors import MissingDependencyError

_BUCKET = 2**25
"""Numbers that go over the wire together."""


class Processes:
    """Which of how many this one is."""

    def __init__(self, device: str = "auto") -> None:
        """``device``: where all of them compute; what they exchange has to be on it.

        Raises MissingDependencyError where several were started and accelerate is not there.
        """
        self._state: Any = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self._state = _accelerate_state(device)

    @property
    def count(self) -> int:
        """Processes in all."""
        return 1 if self._state is None else int(self._state.num_processes)

    @property
    def rank(self) -> int:
        """This one, from 0."""
        return 0 if self._state is None else int(self._state.process_index)

    def device(self, wanted: str) -> str:
        """Where this one computes: its own GPU, where that is left to it."""
        if self._state is None or wanted not in ("auto", "cuda"):
            return wanted
        return str(self._state.device)

    def wait(self) -> None:
        """For all to come here."""
        if self._state is not None:
            self._state.wait_for_everyone()

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over the processes, in place."""
        if self._state is None:
            return
        bucket: list[Tensor] = []
        for at, tensor in enumerate(tensors):
            bucket.append(tensor)
            if at + 1 == len(tensors) or sum(t.numel() for t in bucket) >= _BUCKET:
                _add_up(bucket)
                bucket = []

    def total(self, values: NDArray[np.float64], device: torch.device) -> NDArray[np.float64]:
        """The sum of an array over the processes."""
        if self._state is None:
            return values
        # A GPU has float64, and NCCL takes nothing that is not on one.
        tensor = torch.from_numpy(values).to(device)
        self.add_up([tensor])
        return np.asarray(tensor.cpu().numpy())


def _add_up(bucket: Sequence[Tensor]) -> None:
    flat = torch.cat([tensor.flatten() for tensor in bucket])
    torch.distributed.all_reduce(flat)
    parts = torch.split(flat, [tensor.numel() for tensor in bucket])
    for tensor, part in zip(bucket, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def _accelerate_state(device: str) -> Any:
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingDependencyError(
            "training in several processes needs accelerate: pip install 'minireranker[train]'"
        ) from error
    use_cpu = device == "cpu" or not torch.cuda.is_available()
    return PartialState(cpu=use_cpu)
