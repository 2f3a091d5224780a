"""Parameters that are trained, each with a float32 master that the optimizer moves."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Masters:
    """Parameters by name, and their masters.

    A parameter in float32 is its own master. Of a narrower one, gradients gather in the master (in
    float32, over all batches of a step), and ``publish`` rounds the master into the parameter: what
    is computed with is what an inference in that dtype would compute with.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """All of ``parameters`` have a gradient."""
        self._parameters = dict(parameters)
        self.tensors = {name: _master(p) for name, p in self._parameters.items()}
        """The masters, by name."""

    def publish(self) -> None:
        """Masters into the parameters."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                if parameter is not self.tensors[name]:
                    parameter.copy_(self.tensors[name])

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put masters from a checkpoint of the same run in place."""
        assert set(tensors) == set(self.tensors), "a run's settings are compared before"
        with torch.no_grad():
            for name, master in self.tensors.items():
                master.copy_(tensors[name])
        self.publish()

    def detached(self) -> dict[str, Tensor]:
        """The masters without their gradients, to be saved."""
        return {name: master.detach() for name, master in self.tensors.items()}


def _master(parameter: nn.Parameter) -> Tensor:
    if parameter.dtype in (torch.float32, torch.float64):
        return parameter
    master = parameter.detach().float()

    def gather(changed: Tensor) -> None:
        assert changed.grad is not None, "called where a gradient has arrived"
        grad = changed.grad.float()
        master.grad = grad if master.grad is None else master.grad.add_(grad)
        changed.grad = None

    parameter.register_post_accumulate_grad_hook(gather)  # type: ignore[no-untyped-call]
    return master
