"""The pass in other precisions beside bfloat16, in turns, and what each does to scores and ranks.

Entries are random numbers, the same for all up to their dtype; the scores of float32 are the
measure. The share of bfloat16's pass that products in eight bits could save at most stands beside
it: what one product takes, alone.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.errors import ConfigurationError

from .comparison import Say
from .machine import describe_machine
from .random_pairs import Point, Workload

if TYPE_CHECKING:
    from torch import Tensor

    from minireranker import Reranker
    from minireranker.kernels.quantised import QuantisedWeight

__all__ = ["PrecisionBench", "run"]

BASE, EXACT = "bfloat16", "float32"


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
    scores = {name: workload() for name, workload in loaded.items()}
    seconds = _in_turns(loaded, bench.repeats)
    loaded.clear()
    say(f"the same in {EXACT}")
    exact = Workload(_load(bench, EXACT), point, bench.seed)()
    say("one product alone")
    rows = {
        name: {
            "seconds": seconds[name],
            "speedup": seconds[BASE] / seconds[name],
            "spread_of_speedup": _spread(seconds["all"][BASE], seconds["all"][name]),
            **_errors(scores[name], exact),
        }
        for name in names
    }
    return {
        "machine": describe_machine(),
        "workload": dataclasses.asdict(bench) | {"model": bench.model.name},
        "spread_of_scores": float(exact.std()),
        "precisions": rows,
        "product": _products(bench, names),
    }


def _load(bench: PrecisionBench, dtype: str) -> Reranker:
    from minireranker import Reranker

    return Reranker.from_pretrained(bench.model, profile=bench.profile, dtype=dtype, keep_ratio=1.0)


def _in_turns(work: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Any]:
    """Median seconds of each, so that drift hits all alike; and ``all`` of them."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, once in work.items():
            start = time.perf_counter()
            once()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()} | {"all": times}


def _spread(base: Sequence[float], other: Sequence[float]) -> list[float]:
    ratios = [one / two for one, two in zip(base, other, strict=True)]
    return [min(ratios), max(ratios)]


def _errors(found: Tensor, exact: Tensor) -> dict[str, float]:
    """Against float32: of scores, over their spread, and of the first ten."""
    delta = (found - exact).abs()
    top = min(10, len(exact))
    first = [set(scores.topk(top).indices.tolist()) for scores in (found, exact)]
    return {
        "largest_error_of_spread": float(delta.max() / exact.std()),
        "rms_error_of_spread": float(delta.square().mean().sqrt() / exact.std()),
        "top_10_kept": len(first[0] & first[1]) / top,
    }


def _products(bench: PrecisionBench, names: Sequence[str]) -> dict[str, float]:
    """FLOP/s of the pass's largest product, quantising its rows included, by precision."""
    import torch
    import torch.nn.functional as F

    from minireranker.kernels.quantised import KINDS, QuantisedWeight
    from minireranker.models import Checkpoint, resolve

    text = Checkpoint.open(resolve(str(bench.model))).config.text
    inner, outer, rows = text.hidden_size, text.intermediate_size, bench.candidates * bench.suffix
    x, weight = torch.randn(rows, inner).bfloat16(), torch.randn(outer, inner).bfloat16()
    work: dict[str, Callable[[], object]] = {name: partial(F.linear, x, weight) for name in names}
    for kind in KINDS:
        if kind in names:
            work[kind] = partial(_quantised, x, QuantisedWeight(weight, kind))
    with torch.inference_mode():
        _in_turns(work, 1)
        times = _in_turns(work, 7)
    return {name: 2.0 * rows * inner * outer / times[name] for name in names}


def _quantised(x: Tensor, weight: QuantisedWeight) -> Tensor:
    from minireranker.kernels.quantised import quantise_rows

    return weight(quantise_rows(x, weight.kind))
