"""Entries between the devices: how they get to a GPU, and back.

On CUDA, written to the documentation of streams and pinned memory; not measured yet.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from .entry import Entry
from .ferry import Ferry, Mark

_E = TypeVar("_E", bound=Entry)


def onto(entry: _E, device: torch.device | None) -> _E:
    """The entry with its numbers on ``device``, or under way there; None: where it is.

    From a CPU to CUDA it goes through pinned memory and a stream of its own, for which no thread
    waits: it has to be ``ready`` before it is read.
    """
    if device is None or all(t.device == device for t in entry.numbers().values()):
        return entry
    if device.type != "cuda" or any(t.is_cuda for t in entry.numbers().values()):
        return entry.to(device)
    return _ferry(device).send(entry)


def on_cpu(entry: _E) -> _E:
    """The entry on the CPU; on CUDA, once everything queued so far, and so the entry, is computed.

    Not ``to``: what that copies from a GPU is not there yet when it returns.
    """
    tensors = entry.tensors()
    devices = {tensor.device for tensor in tensors.values() if tensor.is_cuda}
    if all(tensor.device.type == "cpu" for tensor in tensors.values()):
        return entry
    for device in devices:
        torch.cuda.synchronize(device)
    return entry.restore({name: tensor.cpu() for name, tensor in tensors.items()}, entry.fields())


def ready(entry: _E, device: torch.device | None) -> _E:
    """``onto``, for this thread's stream to read: it waits for the copy, the thread does not.

    Its memory is kept from being given away while that stream may read it: the next copy would
    take it otherwise, in spite of kernels that have not run yet. Cheap from the second time on.
    """
    place = device
    if place is None:
        place = next((t.device for t in entry.numbers().values()), None)
    if place is None or place.type != "cuda":
        return onto(entry, place)
    ferry = _ferry(place)
    return entry if ferry.has(entry) else ferry.receive(onto(entry, place))


def place_of(device: torch.device | str | None) -> torch.device | None:
    """A device as tensors name theirs: with its number, if it is one of several."""
    place = None if device is None else torch.device(device)
    if place is not None and place.type == "cuda" and place.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return place


class _CudaLane:
    """A stream beside those that compute: what it has freed, only it gets again."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def stage(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.pin_memory() for name, tensor in tensors.items()}

    def copy(self, staged: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Mark]:
        with torch.cuda.stream(self._stream):
            moved = {name: t.to(self._device, non_blocking=True) for name, t in staged.items()}
            mark: Mark = self._stream.record_event()
        return moved, mark

    def stream(self) -> Hashable:
        return torch.cuda.current_stream(self._device)

    def wait(self, mark: Mark) -> None:
        assert isinstance(mark, torch.cuda.Event), "marks are those of ``copy``"
        torch.cuda.current_stream(self._device).wait_event(mark)

    def hold(self, tensor: Tensor) -> None:
        tensor.record_stream(torch.cuda.current_stream(self._device))


_FERRIES: dict[torch.device, Ferry] = {}
_MAKING = threading.Lock()


def _ferry(device: torch.device) -> Ferry:
    """One a device: what one has sent, no other can receive."""
    with _MAKING:
        if device not in _FERRIES:
            _FERRIES[device] = Ferry(_CudaLane(device))
        return _FERRIES[device]
