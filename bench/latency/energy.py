"""Joules spent while something runs, where the machine counts them.

CPUs: RAPL as Linux shows it (``/sys/class/powercap``, which often only root may read). NVIDIA GPUs:
the mean of the power draw that ``nvidia-smi`` reports, times the seconds.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any, Self

__all__ = ["EnergyMeter", "RaplCounter"]

_POWERCAP = Path("/sys/class/powercap")


class RaplCounter:
    """The package counters of RAPL, in microjoules; they begin again at a number of their own."""

    def __init__(self, root: Path = _POWERCAP) -> None:
        """Find the counters that can be read now."""
        self._zones = [zone for zone in sorted(root.glob("*-rapl:?")) if _number(zone) is not None]
        self._before = self._read()

    @property
    def is_there(self) -> bool:
        """Whether any can be read."""
        return bool(self._zones)

    def joules(self) -> float:
        """Spent since this was made, over all packages."""
        spent = 0.0
        for zone, now in self._read().items():
            more = now - self._before[zone]
            if more < 0:
                more += _number(zone, "max_energy_range_uj") or 0
            spent += more / 1e6
        return spent

    def _read(self) -> dict[Path, int]:
        found = {zone: _number(zone) for zone in self._zones}
        return {zone: value for zone, value in found.items() if value is not None}


class EnergyMeter:
    """A context manager; ``reading`` says what was spent inside it, and by what it knows."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._rapl: RaplCounter | None = None
        self._power: subprocess.Popen[str] | None = None
        self._begin = 0.0
        self._found: dict[str, Any] = {"joules": None, "source": "not measured"}

    def __enter__(self) -> Self:
        """Begin."""
        self._rapl, self._power = RaplCounter(), _watch_gpu()
        self._begin = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        seconds = time.perf_counter() - self._begin
        parts: dict[str, float] = {}
        if self._rapl is not None and self._rapl.is_there:
            parts["cpu, RAPL"] = self._rapl.joules()
        watts = _end(self._power)
        if watts:
            parts["gpu, nvidia-smi"] = statistics.fmean(watts) * seconds
        self._found = {
            "joules": sum(parts.values()) if parts else None,
            "source": " + ".join(parts)
            or "this machine tells nobody: no readable RAPL counter, no nvidia-smi",
        }

    def reading(self) -> dict[str, Any]:
        """``joules`` (None: nobody told) and ``source``."""
        return self._found


def _number(zone: Path, name: str = "energy_uj") -> int | None:
    try:
        return int((zone / name).read_text())
    except (OSError, ValueError):
        return None


def _watch_gpu() -> subprocess.Popen[str] | None:
    """A process that prints the first GPU's watts, five times a second."""
    import torch

    if not torch.cuda.is_available() or shutil.which("nvidia-smi") is None:
        return None
    line = ["nvidia-smi", "--id=0", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
    try:
        return subprocess.Popen(
            [*line, "-lms", "200"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        return None


def _end(process: subprocess.Popen[str] | None) -> list[float]:
    """What it has printed."""
    if process is None:
        return []
    process.terminate()
    out, _ = process.communicate()
    watts = []
    for word in out.split():
        try:
            watts.append(float(word))
        except ValueError:
            continue
    return watts
