"""What a pass computes and moves, beside what the machine can: FLOP/s, bytes/s, and the roof.

FLOP are those of ``bench.arithmetic``. Bytes are what has to come from memory at least: K and V of
the candidates as they are kept, and the decoder's weights, once a batch of ``batch_tokens`` rows.
Ceilings are taken in the same run: one matrix product of the pass's own shape, and one copy, of
which read and write are counted both. The roof is min(FLOP/s, FLOP a byte x bytes/s) (Williams,
Waterman, Patterson, 2009).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minireranker.bench.arithmetic import arithmetic, prefix_tokens, suffix_tokens
from minireranker.bench.machine import gemm_rate

if TYPE_CHECKING:
    import torch

    from minireranker import Reranker

__all__ = ["Ceilings", "Query", "measure_ceilings", "query_cost"]

_COPIED = 2**28
"""Bytes: beyond every cache."""


@dataclass(frozen=True)
class Query:
    """One query over its candidates."""

    flop: float
    bytes: float
    suffix_tokens: int
    prefix_tokens: float


@dataclass(frozen=True)
class Ceilings:
    """What the machine reaches now."""

    flop_per_second: float
    bytes_per_second: float

    def reached(self, cost: Query, queries: int, seconds: float) -> dict[str, Any]:
        """What a run of so many queries in so many seconds has reached of them."""
        intensity = cost.flop / cost.bytes
        roof = min(self.flop_per_second, intensity * self.bytes_per_second)
        flop, moved = cost.flop * queries / seconds, cost.bytes * queries / seconds
        return {
            "flop_per_second": flop,
            "bytes_per_second": moved,
            "share_of_flop_ceiling": flop / self.flop_per_second,
            "share_of_bytes_ceiling": moved / self.bytes_per_second,
            "flop_a_byte": intensity,
            "share_of_roof": flop / roof,
        }


def query_cost(reranker: Reranker, pair_token_layers: int, pairs: int, listed: int) -> Query:
    """Of one query over ``listed`` cached documents, on average.

    ``pair_token_layers``: what ``pairs`` pairs have counted.
    """
    suffix = suffix_tokens(reranker, pair_token_layers, pairs)
    prefix = prefix_tokens(reranker)
    products, attention = arithmetic(reranker, listed, suffix, prefix)
    batches = math.ceil(listed * suffix / reranker.state.batch_tokens)
    moved = listed * _entry_bytes(reranker) + _weight_bytes(reranker, batches)
    return Query(products + attention, moved, suffix, prefix)


def measure_ceilings(reranker: Reranker, rows: int) -> Ceilings:
    """Of this machine in the dtype and on the device of the reranker; ``rows``: of the product."""
    import torch

    model = reranker.state.model
    text = model.config.text
    if model.device.type == "cpu":
        rate = gemm_rate(rows, text.hidden_size, text.intermediate_size, model.dtype)
    else:
        shape = rows, text.hidden_size, text.intermediate_size
        rate = _device_gemm_rate(*shape, model.dtype, model.device)
    source = torch.empty(_COPIED, dtype=torch.uint8, device=model.device).fill_(1)
    target = torch.empty_like(source)
    seconds = _best(lambda: target.copy_(source), model.device)
    return Ceilings(rate, 2 * _COPIED / seconds)


def _device_gemm_rate(
    rows: int, inner: int, columns: int, dtype: torch.dtype, device: torch.device
) -> float:
    """FLOP/s on an accelerator, its queue awaited; ``gemm_rate`` is the CPU's."""
    import torch

    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(columns, inner, device=device).to(dtype)
    with torch.inference_mode():
        seconds = _best(lambda: torch.nn.functional.linear(left, right), device)
    return 2.0 * rows * inner * columns / seconds


def _best(work: Callable[[], object], device: torch.device, repeats: int = 9) -> float:
    """Smallest seconds of several."""
    import torch

    def awaited() -> float:
        start = time.perf_counter()
        work()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter() - start

    return min(awaited() for _ in range(repeats + 1))


def _entry_bytes(reranker: Reranker) -> float:
    """Of one document's K and V as kept, on average over those in memory."""
    from minireranker.cache import PrefixEntry

    memory = reranker.cache.memory
    entries = (memory.peek(key, PrefixEntry) for key in memory.held())
    return statistics.fmean(entry.nbytes for entry in entries if entry is not None)


def _weight_bytes(reranker: Reranker, batches: int) -> float:
    """Of the decoder's layers: those below the band once, those of pairs once a batch."""
    state = reranker.state
    layers = [
        sum(tensor.nbytes for tensor in state.model.decoder.layer(at).state_dict().values())
        for at in range(state.band.exit_layer)
    ]
    below = sum(layers[: state.band.meeting_layer])
    return float(below + batches * sum(layers[state.band.meeting_layer :]))
