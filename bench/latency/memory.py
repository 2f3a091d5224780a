"""What a run would hold in memory at once, and what there is: refused before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minireranker.errors import ConfigurationError

from .geometry import Geometry

__all__ = ["Needs", "available_memory", "item_bytes", "require_memory"]

_ITEM = {"float32": 4, "float64": 8}
_PROCESS = 2**30
"""Of a process with torch and transformers, before any weight: 0.6 to 1 GiB where it was seen."""
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Needs:
    """Bytes at the same time, by phase of a run. No peer runs during the gate."""

    gate: int
    """Ours, and the full-sequence model in float32."""
    turns: int
    """Ours, and every peer."""
    widest: int = 0
    """Ours twice: in its own dtype, and in float32."""

    @classmethod
    def of(cls, model: Geometry, dtype: str, keep: Sequence[int]) -> Needs:
        """``dtype``: of weights; ``keep``: of each peer's process, what it keeps beside them."""
        own = model.total * item_bytes(dtype)
        wide = model.total * item_bytes("float32")
        turns = own + _PROCESS + len(keep) * (own + _PROCESS) + sum(keep)
        return cls(own + wide + _PROCESS, turns, own + wide + _PROCESS)

    @property
    def most(self) -> int:
        """Of the largest phase."""
        return max(self.gate, self.turns, self.widest)


def item_bytes(dtype: str) -> int:
    """Of one number; dtypes of one byte count as two, which is what they are computed in."""
    return _ITEM.get(dtype, 2)


def require_memory(model: Geometry, dtype: str, keep: Sequence[int], device: str) -> int:
    """Bytes left for a cache beside everything else; refuses what does not fit.

    ``keep``: see ``Needs.of``. Raises ConfigurationError with the bytes needed and available.
    """
    free, needs = available_memory(device), Needs.of(model, dtype, keep)
    if free is None:
        return 4 * 2**30
    if needs.most > free:
        advice = "use a smaller checkpoint"
        if keep and needs.gate <= free:
            advice = (
                "take fewer peers (--peer none, or one by name), a smaller sample (--sample, "
                "--units), or a smaller checkpoint"
            )
        raise ConfigurationError(
            f"{model.name} needs {needs.most / 2**30:.1f} GiB of memory in {dtype} with "
            f"{len(keep)} peer(s) ({needs.gate / 2**30:.1f} GiB while scores are compared with the "
            f"full-sequence model in float32, {needs.turns / 2**30:.1f} GiB with all peers "
            f"loaded, {sum(keep) / 2**30:.1f} GiB of that for the prefixes they keep), and "
            f"{free / 2**30:.1f} GiB are available on {device}: nothing was loaded; {advice}"
        )
    return free - needs.most


def available_memory(device: str = "cpu") -> int | None:
    """Bytes that could be taken now on a device; None where nobody says."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    found = [room for room in (_meminfo(), _cgroup()) if room is not None]
    return min(found, default=None)


def _meminfo() -> int | None:
    """What Linux could give without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    values = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return values[0] * 1024 if values else None


def _cgroup(root: Path = _CGROUP) -> int | None:
    """What a container's bound leaves (cgroup v2). Pages of files count as used: they can go."""
    try:
        bound = int((root / "memory.max").read_text(encoding="utf-8"))
        used = int((root / "memory.current").read_text(encoding="utf-8"))
        lines = (root / "memory.stat").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    files = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return max(0, bound - used + files)
