"""What a run will measure and hold, decided before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .contenders import Contender, choose
from .geometry import Geometry
from .memory import require_memory
from .plan import Asked, Plan, make_plan
from .prefixes import kept_bytes
from .workload import LatencyWorkload

__all__ = ["Admission", "admit", "check_size"]


@dataclass(frozen=True)
class Admission:
    """A run that fits."""

    plan: Plan
    threads: int
    keep: dict[str, int]
    """Bytes of prefixes, by peer."""
    room: int
    """Bytes left for our own cache."""


def admit(
    model: Geometry,
    load: LatencyWorkload,
    asked: Asked,
    contenders: Sequence[Contender],
    *,
    dtype: str,
    device: str,
) -> Admission:
    """Fit a run to a machine. Raises ConfigurationError where it does not fit memory."""
    import torch

    threads, on_gpu = torch.get_num_threads(), not device.startswith("cpu")
    plan = make_plan(load, model, asked, threads=threads, gpu=on_gpu)
    keep = kept_bytes(contenders, plan, model, dtype)
    return Admission(plan, threads, keep, require_memory(model, dtype, [*keep.values()], device))


def check_size(
    size: str,
    load: LatencyWorkload,
    asked: Asked,
    *,
    dtype: str = "auto",
    device: str = "auto",
    peers: Sequence[str] = ("all",),
) -> None:
    """Refuse a synthetic checkpoint that would not fit memory, before it is written.

    Raises ConfigurationError.
    """
    from minireranker.bench.peers import available
    from minireranker.engine.placement import find_device, find_precision

    place = find_device(device)
    own = str(find_precision(dtype, "bfloat16", place).dtype).removeprefix("torch.")
    contenders, model = choose(peers, available()), Geometry.of_size(size)
    admit(model, load, asked, contenders, dtype=own, device=str(place))
