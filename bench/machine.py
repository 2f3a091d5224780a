"""What a result was measured on, and what that machine can do at most."""

from __future__ import annotations

import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def describe_machine() -> dict[str, Any]:
    """CPU or GPU by name, versions, git revision and command: what a result file starts with."""
    import torch
    import transformers

    import minireranker

    return {
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "minireranker": minireranker.__version__,
        "revision": _revision(),
        "command": shlex.join(["minireranker", *sys.argv[1:]]),
    }


def peak_memory() -> int:
    """Bytes: the largest resident size of this process so far.

    From Linux itself where there is one: ``getrusage`` begins with what the process was forked
    from, a launcher of any size.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        import resource

        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest if sys.platform == "darwin" else largest * 1024
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def forget_peak_memory() -> None:
    """Let ``peak_memory`` begin with what is resident now; does nothing where Linux is not asked.

    Of a GPU too, see ``torch.cuda.reset_peak_memory_stats``.
    """
    import torch

    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall-clock seconds of ``work``, after one call that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def gemm_rate(rows: int, inner: int, columns: int, dtype: Any, repeats: int = 9) -> float:
    """FLOP/s of a product [rows, inner] x [inner, columns] on the CPU now, the best of several."""
    import torch

    left = torch.randn(rows, inner).to(dtype)
    right = torch.randn(columns, inner).to(dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(repeats + 1):
            start = time.perf_counter()
            torch.nn.functional.linear(left, right)
            best = min(best, time.perf_counter() - start)
    return 2.0 * rows * inner * columns / best


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    name = facts.get("model name", platform.machine())
    return f"{name}, family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"


def _revision() -> str | None:
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None  # installed: a repository further up would be another project's
    try:
        out = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return out.stdout.strip()
