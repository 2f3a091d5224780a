"""Entries between the devices: how they get to a GPU, and back.

On CUDA, written to the documentation of streams and pinned memory; not measured yet.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import torch

from .entry import Entry

_E = TypeVar("_E", bound=Entry)


def onto(entry: _E, device: torch.device | None) -> _E:
    """The entry on ``device``, complete when this returns; None: where it is.

    From a CPU to CUDA it goes through pinned memory and a stream of its own, so that the copy, and
    the waiting for it in the calling thread, does not wait for the model's kernels.
    """
    if device is None or all(t.device == device for t in entry.tensors().values()):
        return entry
    if device.type != "cuda" or any(t.is_cuda for t in entry.tensors().values()):
        return entry.to(device)
    pinned = {name: tensor.pin_memory() for name, tensor in entry.tensors().items()}
    stream = _side_stream(device)
    with torch.cuda.stream(stream):
        moved = entry.restore(pinned, entry.fields()).to(device)
    stream.synchronize()
    return moved


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
    """``onto``, and the memory kept from being given away while this thread's stream may read it.

    Memory from the side stream would otherwise be reused by the next copy there, in spite of
    kernels of another stream that have not run yet.
    """
    entry = onto(entry, device)
    for tensor in entry.tensors().values():
        if tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(tensor.device))
    return entry


def place_of(device: torch.device | str | None) -> torch.device | None:
    """A device as tensors name theirs: with its number, if it is one of several."""
    place = None if device is None else torch.device(device)
    if place is not None and place.type == "cuda" and place.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return place


@lru_cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One a device: what one stream has freed, only that stream gets again."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
