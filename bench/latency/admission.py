"""What a run will measure and hold, decided before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .bench import LatencyBench
from .contenders import Contender, choose
from .geometry import Geometry
from .memory import require_memory
from .plan import Plan, make_plan
from .prefixes import kept_bytes

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
    bench: LatencyBench,
    contenders: Sequence[Contender],
    *,
    dtype: str,
    device: str,
) -> Admission:
    """Fit a run to a machine. Raises ConfigurationError where it does not fit memory."""
    import torch

    threads, on_gpu = torch.get_num_threads(), not device.startswith("cpu")
    cold = len(bench.modes) if bench.state == "cold" else 0
    plan = make_plan(bench.load, model, bench.asked, threads=threads, gpu=on_gpu, cold_modes=cold)
    keep = kept_bytes(contenders, plan, model, dtype)
    return Admission(plan, threads, keep, require_memory(model, dtype, [*keep.values()], device))


def check_size(size: str, bench: LatencyBench) -> None:
    """Refuse a synthetic checkpoint that would not fit memory, before it is written.

    ``bench``: whatever its model is. Raises ConfigurationError.
    """
    from minireranker.bench.peers import available
    from minireranker.engine.placement import find_device, find_precision

    place = find_device(bench.device)
    own = str(find_precision(bench.dtype, "bfloat16", place).dtype).removeprefix("torch.")
    contenders, model = choose(bench.peers, available()), Geometry.of_size(size)
    admit(model, bench, contenders, dtype=own, device=str(place))
