"""The pass in other precisions beside bfloat16, in turns, and what each does to scores and ranks.

Entries are random numbers, the same for all up to their dtype; the scores of float32 are the
measure. Beside it stand what one product takes, alone, and how much of the machine's own rate of
bfloat16 products the pass reaches over all of its arithmetic.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.errors import ConfigurationError

from .arithmetic import arithmetic
from .comparison import Say
from .machine import describe_machine
from .precision_product import LargestProduct
from .random_pairs import Point, Workload

if TYPE_CHECKING:
    from torch import Tensor

    from minireranker import Reranker

__all__ = ["PrecisionBench", "run"]

BASE, EXACT = "bfloat16", "float32"

_LENGTHS = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Of the suffix: queries that scores are compared for."""


@dataclass(frozen=True)
class PrecisionBench:
    """What to measure. Raises ConfigurationError where nothing is to be compared with."""

    model: Path
    """A checkpoint directory."""
    profile: str = "mini"
    dtypes: tuple[str, ...] = ("int8",)
    """Beside bfloat16."""
    candidates: int = 100
    suffix: int = 40
    prefix: int = 150
    repeats: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Compare the dtypes."""
        if not self.dtypes or {BASE, EXACT} & set(self.dtypes):
            raise ConfigurationError(
                f"dtypes {', '.join(self.dtypes) or 'none'}: name some beside {BASE} and {EXACT}, "
                "which are measured anyway"
            )


def run(bench: PrecisionBench, say: Say = lambda line: None) -> dict[str, Any]:
    """Measure; returns the result as JSON-able data. Raises what ``Reranker`` raises."""
    point = Point(bench.candidates, bench.suffix, bench.prefix)
    names = (BASE, *bench.dtypes)
    loaded = {}
    for name in names:
        say(f"loading {bench.model.name} in {name}")
        loaded[name] = Workload(_load(bench, name), point, bench.seed)
    say(f"scoring {bench.candidates} pairs, {bench.repeats} times in turns")
    found = {name: _scores(workload.reranker, bench) for name, workload in loaded.items()}
    flop = sum(arithmetic(loaded[BASE].reranker, bench.candidates, bench.suffix, bench.prefix))
    # A product beside each pass: the machine's rate when it ran.
    product = LargestProduct(bench.model, bench.candidates * bench.suffix)
    seconds = _in_turns({"product": product.of(BASE), **loaded}, bench.repeats)
    loaded.clear()
    say(f"the same in {EXACT}")
    exact = _scores(_load(bench, EXACT), bench)
    say("one product alone")
    alone = _in_turns({name: product.of(name) for name in names}, bench.repeats)
    rows = {
        name: {
            "seconds": seconds[name],
            "flop_per_second": flop / seconds[name],
            "speedup": seconds[BASE] / seconds[name],
            "spread_of_speedup": _spread(seconds["all"][BASE], seconds["all"][name]),
            **_errors(found[name], exact),
        }
        for name in names
    }
    return {
        "machine": describe_machine(),
        "workload": dataclasses.asdict(bench) | {"model": bench.model.name},
        "spread_of_scores": float(exact.std(1).mean()),
        "precisions": rows,
        "product": {name: product.flop / alone[name] for name in names},
        "share_of_gemm_rate": _share(product.flop, flop, seconds["all"]),
    }


def _load(bench: PrecisionBench, dtype: str) -> Reranker:
    from minireranker import Reranker

    return Reranker.from_pretrained(bench.model, profile=bench.profile, dtype=dtype, keep_ratio=1.0)


def _in_turns(work: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Any]:
    """Median seconds of each, so that drift hits all alike; and ``all`` of them."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for once in work.values():
        once()
    for _ in range(repeats):
        for name, once in work.items():
            start = time.perf_counter()
            once()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()} | {"all": times}


def _spread(base: Sequence[float], other: Sequence[float]) -> list[float]:
    ratios = [one / two for one, two in zip(base, other, strict=True)]
    return [min(ratios), max(ratios)]


def _scores(reranker: Reranker, bench: PrecisionBench) -> Tensor:
    """Of queries of several lengths, [queries, candidates].

    Rounding of a query's own states is common to all of its pairs: one query would be one draw.
    """
    import torch

    lengths = [max(1, round(bench.suffix * share)) for share in _LENGTHS]
    points = [Point(min(bench.candidates, 20), length, bench.prefix, 4) for length in lengths]
    found = [Workload(reranker, point, bench.seed) for point in points]
    return torch.cat([work().view(len(work.entries), -1).T for work in found])


def _errors(found: Tensor, exact: Tensor) -> dict[str, float]:
    """Against float32: of scores, over a query's spread, and of its better half, up to ten.

    What is common to all documents of a query moves its scores and no rank: it is left out of
    "rms_error_between_documents".
    """
    delta, spread = found - exact, exact.std(1).mean()
    between = delta - delta.mean(1, keepdim=True)
    top = min(10, exact.shape[1] // 2)
    kept = [
        len(set(one.tolist()) & set(two.tolist()))
        for one, two in zip(found.topk(top).indices, exact.topk(top).indices, strict=True)
    ]
    return {
        "largest_error_of_spread": float(delta.abs().max() / spread),
        "rms_error_of_spread": float(delta.square().mean().sqrt() / spread),
        "rms_error_between_documents": float(between.square().mean().sqrt() / spread),
        "top_half_kept": sum(kept) / (top * len(kept)),
    }


def _share(product: float, flop: float, times: Mapping[str, Sequence[float]]) -> float:
    """Of the rate of products that a pass of ``flop`` reaches: the median of the turns' own."""
    rates = [product / seconds for seconds in times["product"]]
    return statistics.median(
        flop / seconds / rate for seconds, rate in zip(times[BASE], rates, strict=True)
    )
