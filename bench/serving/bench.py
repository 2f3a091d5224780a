"""The same requests in-process and through a server, in turns; then twice what the server can do.

The server and its clients share the machine, so what clients burn is taken off the server's rate.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minireranker.bench.machine import describe_machine
from minireranker.errors import ConfigurationError
from minireranker.serve.loading import use_threads

from .in_process import InProcess
from .load import Load, Tally
from .server import Served, serving
from .workload import Workload

__all__ = ["ServingBench", "run"]

_TURNS = 10


@dataclass(frozen=True)
class ServingBench:
    """What to measure. Raises ConfigurationError for counts below 1."""

    model: str = "builtin"
    dtype: str = "auto"
    threads: int | None = None
    """Of the server and of the in-process rate; None: what the server takes by itself."""
    clients: int = 64
    """Of overload, and at most of capacity."""
    seconds: float = 300.0
    """Of overload; capacity and the in-process rate, in turns, take a third of that each, two
    seconds at least."""
    overload: float = 2.0
    """Times the capacity."""
    documents: int = 512
    """Indexed."""
    per_request: int = 16
    queue_documents: int = 1_024
    queue_seconds: float | None = None
    """See ``ServiceOptions``."""
    round_documents: int = 256

    def __post_init__(self) -> None:
        """Check the counts."""
        for name, value in asdict(self).items():
            if isinstance(value, int | float) and value <= 0:
                raise ConfigurationError(f"{name} = {value}: allowed is above 0")

    @property
    def short(self) -> float:
        """Seconds of the phases before the overload."""
        return max(self.seconds / 3, 2.0)

    @property
    def together(self) -> int:
        """Requests of a round."""
        return max(self.round_documents // self.per_request, 1)

    @property
    def steady(self) -> int:
        """Clients that wait for their answers, to find the capacity: as many as fill a round while
        another one runs. More would be refused now and then, and stay away for a second."""
        return min(self.clients, 2 * self.together)


def run(bench: ServingBench, say: Callable[[str], None]) -> dict[str, Any]:
    """The result; ``say`` is told of each phase. Raises MinirerankerError."""
    workload = Workload(bench.documents, bench.per_request)
    threads = use_threads(bench.model, bench.threads)
    say(f"reading ahead, {threads} thread{'s' if threads > 1 else ''}")
    local = _in_process(bench, workload)
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "model": bench.model,
            "dtype": bench.dtype,
            "threads": bench.threads,
            "queue_documents": bench.queue_documents,
            "queue_seconds": bench.queue_seconds,
            "round_documents": bench.round_documents,
            "call_documents": min(1_000, bench.queue_documents),
            "deadline_seconds": 3_600.0,
        }
        with serving(settings, Path(folder, "log.jsonl")) as served:
            found = asyncio.run(_measure(bench, local, served, say))
            served.stop()
            found["exit_code"] = served.exit_code
    return {
        "benchmark": "serving",
        "settings": asdict(bench),
        "machine": describe_machine(),
        "in_process_documents_per_second": local.rate,
        "in_process_cpu_seconds_per_document": local.cpu / local.documents,
        **found,
    }


async def _measure(
    bench: ServingBench, local: InProcess, served: Served, say: Callable[[str], None]
) -> dict[str, Any]:
    from minireranker.serve.client_async import AsyncClient

    async with AsyncClient(served.address) as client:
        texts = local.workload.texts.items()
        await client.index({"id": name, "text": text} for name, text in texts)
    requests = local.workload.requests()
    alone = Load(served, 1, requests)
    say("one client alone")
    service = statistics.median((await alone.waiting(min(bench.short, 10.0))).latencies)
    steady = Load(served, bench.steady, requests)
    capacity, shares = Tally(), list[float]()
    for number in range(_TURNS):
        rate = local.run(bench.short / _TURNS)
        turn = await steady.waiting(bench.short / _TURNS)
        shares.append(turn.rate / rate)
        capacity.add(turn)
        say(
            f"turn {number + 1} of {_TURNS}: {rate:.0f} documents a second in-process, "
            f"{turn.rate:.0f} for {bench.steady} clients that wait"
        )
    say(f"overload: {bench.overload:g} x {capacity.rate:.0f} documents a second")
    offered = bench.overload * capacity.rate
    load = Load(served, bench.clients, requests)
    overload = await load.paced(bench.seconds, offered, bench.per_request)
    queue = min(bench.queue_seconds or math.inf, bench.queue_documents / overload.rate)
    return {
        "service_seconds": service,
        "share_of_in_process": statistics.median(shares),
        "shares": shares,
        "capacity": {
            "clients": bench.steady,
            **_figures(capacity),
            "server_cpu_seconds_per_document": capacity.cpu_per_document,
        },
        "overload": {
            **_figures(overload),
            "offered_documents_per_second": offered,
            "p99_bound_seconds": queue + 3 * service,
            "resident_growth": _growth(overload.resident),
        },
    }


def _in_process(bench: ServingBench, workload: Workload) -> InProcess:
    from minireranker import Reranker

    reranker = Reranker.from_pretrained(bench.model, dtype=bench.dtype, progress=False)
    return InProcess(reranker, workload, bench.together)


def _figures(tally: Tally) -> dict[str, Any]:
    cuts = statistics.quantiles(tally.latencies, n=100) if len(tally.latencies) > 1 else [0.0] * 99
    return {
        "seconds": tally.seconds,
        "documents_per_second": tally.rate,
        "outcomes": dict(tally.outcomes),
        "latency_seconds": {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98]},
        "queue_documents_max": max(tally.depths, default=0),
        "resident_bytes": tally.resident[:: max(len(tally.resident) // 60, 1)],
    }


def _growth(resident: list[int]) -> float | None:
    """Of the last fifth over the second, as a share: the first is warm-up."""
    fifth = len(resident) // 5
    if not fifth:
        return None
    before = statistics.median(resident[fifth : 2 * fifth])
    return statistics.median(resident[-fifth:]) / before - 1
