"""Seconds of a device's work, and the rates it copies and multiplies at.

On a CUDA device events tell how long the work itself takes: it is queued behind an idle wait of
some milliseconds, so that a slow host does not show, as it does not where the launches are in a
graph. What the host takes to queue it is told beside that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["Clock", "Spell"]

_WAIT_CYCLES = 40_000_000
"""About 20 ms of a GPU."""

_COLD_BYTES = 2**28
"""Overwritten before each timing: more than any L2 cache there is."""

_COPY_BYTES = {"cpu": 2**27, "cuda": 2**30}
_SQUARE = {"cpu": 1024, "cuda": 8192}
"""Side of the matrices that are multiplied."""

_ROUNDS = 7


@dataclass(frozen=True)
class Spell:
    """How long one piece of work took, in seconds."""

    device: float
    host: float
    """Until the call returned; on a CPU the same."""


class Clock:
    """Times work on one device; with ``cold`` what a CUDA device has in its L2 cache is lost."""

    def __init__(self, device: torch.device, *, cold: bool = False) -> None:
        """Make what is overwritten."""
        import torch

        self._device = device
        self._waste = (
            torch.empty(_COLD_BYTES, dtype=torch.uint8, device=device)
            if cold and device.type == "cuda"
            else None
        )

    def seconds(self, work: Callable[[], object]) -> Spell:
        """Of one call."""
        if self._device.type == "cuda":
            import torch

            with torch.cuda.device(self._device):
                return self._on_cuda(work)
        start = time.perf_counter()
        work()
        passed = time.perf_counter() - start
        return Spell(passed, passed)

    def rounds(
        self, work: Mapping[str, Callable[[], object]], repeats: int
    ) -> dict[str, list[Spell]]:
        """All in turns, ``repeats`` times after one round that is not counted."""
        found: dict[str, list[Spell]] = {name: [] for name in work}
        for _ in range(repeats + 1):
            for name, call in work.items():
                found[name].append(self.seconds(call))
        return {name: spells[1:] for name, spells in found.items()}

    def rates(self, dtype: torch.dtype) -> dict[str, float]:
        """Bytes a second of a large copy, read and written; FLOP a second of a square product."""
        import torch

        kind = self._device.type
        source = torch.zeros(_COPY_BYTES[kind], dtype=torch.uint8, device=self._device)
        target, side = torch.empty_like(source), _SQUARE[kind]
        left = torch.randn(side, side, device=self._device).to(dtype)
        out = torch.empty_like(left)
        work = {
            "copy": lambda: target.copy_(source),
            "gemm": lambda: torch.mm(left, left.T, out=out),
        }
        best = {
            name: min(spell.device for spell in spells)
            for name, spells in self.rounds(work, _ROUNDS).items()
        }
        return {
            "copy_bytes_per_second": 2 * source.nbytes / best["copy"],
            "gemm_flop_per_second": 2 * side**3 / best["gemm"],
        }

    def _on_cuda(self, work: Callable[[], object]) -> Spell:
        import torch

        cuda: Any = torch.cuda  # half of it has no types
        first, last = (cuda.Event(enable_timing=True) for _ in range(2))
        if self._waste is not None:
            self._waste.zero_()
        cuda.synchronize()
        cuda._sleep(_WAIT_CYCLES)
        first.record()
        start = time.perf_counter()
        work()
        host = time.perf_counter() - start
        last.record()
        last.synchronize()
        return Spell(first.elapsed_time(last) / 1e3, host)
