"""The backends of band attention beside each other and beside the floor, in one run.

The floor is what neither the memory nor the arithmetic allows to beat: every document's K and V
read once, queries read, output written, at the rate of a large copy; or the products, at the rate
of a large square one in the queries' dtype; whichever takes longer. Both rates are measured before.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from minireranker.errors import ConfigurationError, MinirerankerError

from .comparison import Say
from .kernels_calls import NUMBERS, Heads, Rows, Shape
from .kernels_clock import Clock, Spell
from .kernels_gate import Gate
from .machine import describe_machine

__all__ = ["KernelsBench", "check_outputs", "run"]


@dataclass(frozen=True)
class KernelsBench:
    """What to measure. Raises ConfigurationError for what cannot be."""

    prefixes: tuple[int, ...] = (150,)
    """Mean tokens of a document: a call each."""
    queries: tuple[int, ...] = (1,)
    """Rows of a document: a call each."""
    last: bool = True
    """Also with one query token a row, as in the last layer."""
    documents: int = 100
    suffix: int = 40
    header: int = 20
    heads: Heads = field(default_factory=Heads)
    dtype: str = "auto"
    numbers: str = "exact"
    """Of the prefixes: see ``NUMBERS``."""
    backends: tuple[str, ...] = ()
    """None: all but the reference."""
    device: str = "auto"
    repeats: int = 9
    cold: bool = False
    """Whether a CUDA device's L2 cache is overwritten before each timing."""

    def __post_init__(self) -> None:
        """Compare the fields."""
        from minireranker.kernels.band_attention import BACKENDS

        counts = {
            name: getattr(self, name)
            for name in ("documents", "suffix", "repeats", "prefixes", "queries")
        }
        sizes = dataclasses.asdict(self.heads)
        counts.update({f"heads.{name}": size for name, size in sizes.items()})
        for name, value in counts.items():
            given = value if isinstance(value, tuple) else (value,)
            if not given or min(given) < 1:
                raise ConfigurationError(f"{name} is {value}; give 1 or more")
        if self.header < 0:
            raise ConfigurationError(f"header is {self.header}; give 0 or more")
        if self.heads.queries % self.heads.keys:
            raise ConfigurationError(
                f"{self.heads.queries} query heads are not a multiple of {self.heads.keys} KV heads"
            )
        if self.numbers not in NUMBERS:
            raise ConfigurationError(f"numbers {self.numbers!r}: use one of {', '.join(NUMBERS)}")
        unknown = [name for name in self.backends if name not in BACKENDS]
        if unknown:
            raise ConfigurationError(
                f"backend {', '.join(unknown)}: use some of {', '.join(BACKENDS)}"
            )

    def shapes(self) -> Iterator[Shape]:
        """The calls that are measured."""
        steps = (self.suffix, 1) if self.last and self.suffix > 1 else (self.suffix,)
        for prefix, queries, tokens in itertools.product(self.prefixes, self.queries, steps):
            yield Shape(self.documents, prefix, queries, self.suffix, tokens, self.header)


def run(bench: KernelsBench, say: Say = lambda line: None) -> dict[str, Any]:
    """Measure; returns the result as JSON-able data.

    "calls" has a record a shape: under "backends" what was timed; under "refused" what does not
    take the call and under "wrong" what computes it wrongly, with a sentence each. "unavailable"
    has what does not run on the device, with a sentence. Raises ConfigurationError for a device or
    dtype that there is not, or if no backend runs.
    """
    from minireranker.engine.placement import find_device, find_dtype
    from minireranker.kernels.band_attention import BACKENDS, requirement

    device = find_device(bench.device)
    dtype = find_dtype(bench.dtype, "bfloat16", device)
    if bench.cold and device.type != "cuda":
        raise ConfigurationError(f"cold is for CUDA devices, not {device}; leave it out")
    names = bench.backends or tuple(name for name in BACKENDS if name != "reference")
    reasons = {name: requirement(name, device) for name in names}
    unavailable = {name: reason for name, reason in reasons.items() if reason is not None}
    able = [name for name in names if name not in unavailable]
    if not able:
        raise ConfigurationError(f"nothing to time: {'; '.join(unavailable.values())}")
    clock = Clock(device, cold=bench.cold)
    say("measuring what the device copies and multiplies")
    rates = clock.rates(dtype)
    calls = []
    for shape in bench.shapes():
        say(shape.name)
        rows = Rows.drawn(shape, bench.heads, dtype, bench.numbers, device)
        calls.append(_measure(bench, shape, rows, able, clock, rates))
    return {
        "machine": describe_machine(),
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "workload": dataclasses.asdict(bench),
        "rates": rates,
        "calls": calls,
        "unavailable": unavailable,
    }


def check_outputs(result: dict[str, Any]) -> None:
    """Raise MinirerankerError if a backend's output was wrong."""
    wrong = {name: reason for call in result["calls"] for name, reason in call["wrong"].items()}
    if wrong:
        raise MinirerankerError("; ".join(f"{name}: {reason}" for name, reason in wrong.items()))


def _measure(
    bench: KernelsBench,
    shape: Shape,
    rows: Rows,
    names: list[str],
    clock: Clock,
    rates: dict[str, float],
) -> dict[str, Any]:
    import torch

    with torch.inference_mode():
        gate = Gate.of(rows, names)
        work = {name: functools.partial(rows.attend, name) for name in gate.errors}
        spells = clock.rounds(work, bench.repeats)
    floors = {
        "memory": rows.nbytes / rates["copy_bytes_per_second"],
        "arithmetic": rows.flop / rates["gemm_flop_per_second"],
    }
    timed = {name: _record(rows, times, floors) for name, times in spells.items()}
    return {
        "name": shape.name,
        "shape": dataclasses.asdict(shape),
        "flop": rows.flop,
        "kv_bytes": rows.kv_bytes,
        "bytes": rows.nbytes,
        "floor_seconds": floors,
        "allowed_error": gate.allowed,
        "backends": {name: {**row, "error": gate.errors[name]} for name, row in timed.items()},
        "refused": gate.refused,
        "wrong": gate.wrong,
    }


def _record(rows: Rows, spells: list[Spell], floors: dict[str, float]) -> dict[str, Any]:
    seconds = statistics.median(spell.device for spell in spells)
    return {
        "seconds": [spell.device for spell in spells],
        "median_seconds": seconds,
        "median_host_seconds": statistics.median(spell.host for spell in spells),
        "flop_per_second": rows.flop / seconds,
        "kv_bytes_per_second": rows.kv_bytes / seconds,
        "share_of_floor": max(floors.values()) / seconds,
    }
