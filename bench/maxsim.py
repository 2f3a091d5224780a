"""MaxSim on this CPU beside the matrix products it is made of, in one run, and what it takes.

Two rates to compare with, each the best of all rounds in the same dtype: "same shape", all the
documents' vectors times the query tokens in one product, in the better of two layouts, its result's
memory at hand; and "square", a product of 2048 x 2048 matrices, which reads next to nothing and is
what the CPU can do at most. All are timed in turns. Nothing is timed before a sample of the scores
equals the reference.
"""

from __future__ import annotations

import ctypes
import dataclasses
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.errors import ConfigurationError, MinirerankerError

from .comparison import Say
from .machine import describe_machine

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MaxsimBench", "run"]

TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2, "float16": 1e-5, "int8": 1e-5}
"""Largest difference to the reference, of the largest score."""

_SQUARE = 2048
_SAMPLE = 64
"""Documents compared with the reference."""

_PORTION = 2**18
"""Rows made at a time."""


@dataclass(frozen=True)
class MaxsimBench:
    """What to measure. Raises ConfigurationError for what cannot be."""

    documents: int = 10_000
    shortest: int = 64
    """Vectors of a document, at least."""
    longest: int = 832
    """And at most; lengths are drawn evenly."""
    dim: int = 128
    queries: int = 1
    tokens: int = 32
    """Of each query."""
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "int8")
    repeats: int = 7

    def __post_init__(self) -> None:
        """Compare the fields."""
        for name in ("documents", "dim", "queries", "tokens", "repeats"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; give at least 1")
        if not 0 < self.shortest <= self.longest:
            raise ConfigurationError(
                f"documents of {self.shortest} to {self.longest} vectors; give at least 1, and the "
                "larger number second"
            )
        unknown = [name for name in self.dtypes if name not in TOLERANCE]
        if unknown or not self.dtypes:
            raise ConfigurationError(
                f"dtypes {', '.join(self.dtypes) or 'none'}: use some of {', '.join(TOLERANCE)}"
            )


def run(bench: MaxsimBench, say: Say = lambda line: None) -> dict[str, Any]:
    """Measure; returns the result as JSON-able data. Raises MinirerankerError for wrong scores."""
    rows = {}
    for dtype in bench.dtypes:
        say(f"{dtype}: making {bench.documents} documents")
        corpus = _Corpus(bench, dtype)
        say(f"{dtype}: {corpus.nbytes / 2**20:.0f} MiB; comparing and timing")
        rows[dtype] = _measure(bench, dtype, corpus)
    return {
        "machine": describe_machine(),
        "workload": dataclasses.asdict(bench),
        "square": _SQUARE,
        "dtypes": rows,
    }


class _Corpus:
    """Random vectors of unit length, and the calls that are timed."""

    def __init__(self, bench: MaxsimBench, dtype: str) -> None:
        import torch

        random = torch.Generator().manual_seed(0)
        bounds = (bench.shortest, bench.longest + 1)
        self.lengths = torch.randint(*bounds, (bench.documents,), generator=random)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.queries, self._query_scales = _vectors(
            bench.queries * bench.tokens, bench.dim, dtype, random
        )
        total = int(self.lengths.sum())
        self.pool, self._scales = _vectors(total, bench.dim, dtype, random)
        self._cu = range(0, len(self.queries) + 1, bench.tokens)

    @property
    def nbytes(self) -> int:
        return self.pool.nbytes

    @property
    def operations(self) -> float:
        """Multiplications and additions of the products."""
        return 2.0 * self.pool.numel() * len(self.queries)

    def score(self, backend: str = "blocked", sample: slice = slice(None)) -> Tensor:
        from minireranker.kernels.maxsim import maxsim

        return maxsim(
            self.queries,
            self.pool,
            cu_seqlens_q=self._cu,
            starts=self.starts[sample],
            lengths=self.lengths[sample],
            query_scales=self._query_scales,
            document_scales=self._scales,
            backend=backend,
        )


def _vectors(count: int, dim: int, dtype: str, random: Any) -> tuple[Tensor, Tensor | None]:
    import torch

    out = torch.empty(count, dim, dtype=getattr(torch, dtype))
    scales = torch.empty(count) if dtype == "int8" else None
    for at in range(0, count, _PORTION):
        part = torch.randn(min(_PORTION, count - at), dim, generator=random)
        part = torch.nn.functional.normalize(part, dim=1)
        if scales is not None:
            largest = part.abs().amax(1)
            scales[at : at + _PORTION] = largest / 127
            part = (part / largest[:, None] * 127).round_()
        out[at : at + _PORTION] = part
    return out, scales


def _measure(bench: MaxsimBench, dtype: str, corpus: _Corpus) -> dict[str, Any]:
    memory = extra_memory(corpus.score)
    error = _gate(dtype, corpus)
    work = {"maxsim": corpus.score, **_products(corpus)}
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(bench.repeats + 1):
        for name, call in work.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    best = {name: min(times[1:]) for name, times in seconds.items()}
    rates = {name: corpus.operations / best[name] for name in best}
    rates["square"] = 2.0 * _SQUARE**3 / best["square"]
    same = max(rates["rows x tokens"], rates["tokens x rows"])
    return {
        "bytes": corpus.nbytes,
        "vectors": len(corpus.pool),
        "error_of_largest_score": error,
        "extra_bytes": memory,
        "seconds": {name: times[1:] for name, times in seconds.items()},
        "median_seconds": statistics.median(seconds["maxsim"][1:]),
        "flop_per_second": rates,
        "share_of_same_shape": rates["maxsim"] / same,
        "share_of_square": rates["maxsim"] / rates["square"],
    }


def _gate(dtype: str, corpus: _Corpus) -> float:
    """Largest difference to the reference, of the largest score, over documents from all over."""
    every = max(1, len(corpus.lengths) // _SAMPLE)
    sample = slice(0, None, every)
    exact = corpus.score("reference", sample)
    # Not of the sample alone: as it is timed.
    error = float((corpus.score()[:, sample] - exact).abs().max() / exact.abs().max())
    if error > TOLERANCE[dtype]:
        raise MinirerankerError(
            f"{dtype}: scores differ from the reference by {error:.1e} of the largest, more than "
            f"{TOLERANCE[dtype]:.0e}; nothing was timed, and this is a bug to report"
        )
    return error


def _products(corpus: _Corpus) -> dict[str, Callable[[], Tensor]]:
    """Products of the same numbers, one call each, into memory that is there already."""
    import torch

    whole = corpus.pool.dtype is torch.int8
    multiply: Any = torch.ops.aten._int_mm.out if whole else torch.mm
    kind = torch.int32 if whole else corpus.pool.dtype
    rows, tokens = len(corpus.pool), len(corpus.queries)
    out = torch.empty(rows * tokens, dtype=kind)
    square = torch.ones(_SQUARE, _SQUARE).to(corpus.pool.dtype)
    result = torch.empty(_SQUARE, _SQUARE, dtype=kind)
    tall, wide = out.view(rows, tokens), out.view(tokens, rows)
    return {
        "rows x tokens": lambda: multiply(corpus.pool, corpus.queries.T, out=tall),
        "tokens x rows": lambda: multiply(corpus.queries, corpus.pool.T, out=wide),
        "square": lambda: multiply(square, square.T, out=result),
    }


def extra_memory(work: Callable[[], object]) -> int | None:
    """Bytes of its own that the process has more during ``work`` than before; None if not told.

    Resident pages that belong to no file, looked at every third of a millisecond. What the
    allocator kept from before is given back first, so that it is counted.
    """
    if not sys.platform.startswith("linux"):
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    before = largest = _anonymous()
    done = threading.Event()

    def watch() -> None:
        nonlocal largest
        while not done.wait(0.0003):
            largest = max(largest, _anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return largest - before


def _anonymous() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024
