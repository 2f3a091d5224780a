"""One query against a hundred cached images: the reduced pass beside the dense model, in one run.

What is written: seconds of the warm pass; seconds of the same pairs through the unmodified
``transformers`` model (a sample of the pairs, scaled up); the share of the machine's own
matrix-product rate that the pass reaches on the arithmetic that is left; peak memory against
weights, cache and slack. Nothing is reported unless the scores equal the full-sequence model's in
float32. All of it is of the CPU, also where there is a GPU.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.errors import ConfigurationError

from .arithmetic import arithmetic, prefix_tokens, suffix_tokens
from .comparison import Say, agreement, dense
from .machine import describe_machine, gemm_rate, median_seconds, peak_memory

if TYPE_CHECKING:
    from minireranker import Document, Reranker
    from minireranker.configs import Limits
    from minireranker.engine.types import FailedDocument

__all__ = ["QUERY", "EngineBench", "draw", "run"]

QUERY = (
    "Which page shows the quarterly revenue of the northern region as a bar chart, "
    "with the numbers for each month in a table below it?"
)

_LEAST = {"documents": 2, "side": 1, "repeats": 1, "sample": 1}


@dataclass(frozen=True)
class EngineBench:
    """What to measure. Raises ConfigurationError for counts below 1, or fewer than 2 documents."""

    model: Path
    """A checkpoint directory."""
    profile: str = "mini"
    dtype: str = "bfloat16"
    """"auto" is what the engine takes for this checkpoint and machine."""
    documents: int = 100
    side: int = 512
    """Of the square images, pixels."""
    repeats: int = 3
    """Warm passes timed."""
    sample: int = 3
    """Pairs timed on the dense model, and checked."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the counts."""
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigurationError(
                    f"{name} = {getattr(self, name)}: allowed is {least} or more"
                )


def run(
    bench: EngineBench, say: Say = lambda line: None, progress: bool | None = False
) -> dict[str, Any]:
    """Measure; returns the result as JSON-able data.

    ``progress``: of reading the images, see ``Reranker.index``. Raises ConfigurationError if an
    image cannot be indexed or found again, if the scores are all equal, or not those of the full
    sequence; and what ``Reranker.from_pretrained`` raises.
    """
    memory = {"before_loading": peak_memory()}
    say(f"loading {bench.model.name}")
    reranker = _load(bench)
    memory["after_loading"] = peak_memory()
    documents = draw(bench, reranker.profile.limits)
    say(f"indexing {len(documents)} images of {bench.side} x {bench.side} pixels")
    ids, indexing = _index(reranker, documents, progress)
    memory["after_indexing"] = peak_memory()
    say(f"ranking them, {bench.repeats} times over")
    warm = _warm(reranker, ids, bench.repeats) | indexing
    memory |= _sizes(reranker)
    equal, exact = agreement(reranker, QUERY, documents, bench.sample, say)
    whole, full = dense(reranker, QUERY, documents, bench.sample, say)
    equal["full_sequence_error"] = max(abs(a - b) for a, b in zip(full, exact, strict=True))
    dtype = str(reranker.state.model.dtype).removeprefix("torch.")
    named = {"model": bench.model.name, "dtype": dtype, "query": QUERY}
    return {
        "machine": describe_machine(),
        "workload": dataclasses.asdict(bench) | named,
        "mini": warm,
        "dense": whole,
        "agreement": equal,
        "memory_bytes": memory,
        "mini_over_dense": warm["seconds"] / whole["seconds"],
    }


def draw(bench: EngineBench, limits: Limits) -> list[Document]:
    """Square images of smooth noise, with random importances: one a visual token under ``limits``.

    Raises MediaError for limits that no square image is within.
    """
    import numpy as np
    from PIL import Image

    from minireranker import Document
    from minireranker.engine.pixels import FACTOR, resize_dims

    height, width = resize_dims(
        bench.side,
        bench.side,
        min_pixels=limits.min_pixels,
        max_pixels=limits.max_pixels,
        max_aspect_ratio=limits.max_aspect_ratio,
    )
    grid = height // FACTOR, width // FACTOR
    random = np.random.default_rng(bench.seed)
    documents = []
    for _ in range(bench.documents):
        coarse = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((bench.side, bench.side), Image.Resampling.BICUBIC)
        documents.append(Document(image=image, importances=random.random(grid)))
    return documents


def _load(bench: EngineBench) -> Reranker:
    from minireranker import Reranker

    reranker = Reranker.from_pretrained(
        bench.model, profile=bench.profile, dtype=bench.dtype, device="cpu"
    )
    if reranker.profile.template.order == "query-first":
        raise ConfigurationError(
            f"profile {reranker.profile.name} puts the query first, so nothing of a document "
            "is cached that could be timed; name one whose template.order is vision-first"
        )
    return reranker


def _index(
    reranker: Reranker, documents: Sequence[Document], progress: bool | None
) -> tuple[list[Any], dict[str, Any]]:
    """The documents' ids, and what reading them cost."""
    start = time.perf_counter()
    indexed = reranker.index(documents, progress=progress)
    seconds = time.perf_counter() - start
    _require_all(indexed.failed, "indexed")
    patches = indexed.work.vision_patches
    return list(indexed), {"index_seconds": seconds, "index_vision_patches": patches}


def _require_all(failed: Sequence[FailedDocument], done: str) -> None:
    if failed:
        raise ConfigurationError(
            f"{len(failed)} images could not be {done}, the first because: {failed[0]}"
        )


def _warm(reranker: Reranker, ids: Sequence[Any], repeats: int) -> dict[str, Any]:
    """The pass over cached documents: its time, and how much of the machine it uses."""
    ranking = reranker.rank(QUERY, ids)
    _require_all(ranking.failed, "ranked")
    if ranking[0].score == ranking[-1].score:
        raise ConfigurationError(_without_spread(reranker))
    seconds = median_seconds(lambda: reranker.rank(QUERY, ids), repeats)
    suffix = suffix_tokens(reranker, ranking.work.pair_token_layers, len(ids))
    prefix = prefix_tokens(reranker)
    products, attention = arithmetic(reranker, len(ids), suffix, prefix)
    model = reranker.state.model
    text = model.config.text
    rate = gemm_rate(len(ids) * suffix, text.hidden_size, text.intermediate_size, model.dtype)
    return {
        "seconds": seconds,
        "suffix_tokens": suffix,
        "prefix_tokens": prefix,
        "token_layers": ranking.work.token_layers,
        "vision_patches": ranking.work.vision_patches,
        "stages_seconds": dataclasses.asdict(ranking.timings),
        "flop_products": products,
        "flop_attention": attention,
        "gemm_flop_per_second": rate,
        "share_of_gemm_rate": (products + attention) / seconds / rate,
    }


def _without_spread(reranker: Reranker) -> str:
    if reranker.state.band.prefix_layers:
        return "all images have the same score, so no error can be seen; use other weights"
    return (
        f"the band of profile {reranker.profile.name} is empty: the query's attention to an image "
        "is over nothing, and all images have the same score; name a profile with a band"
    )


def _sizes(reranker: Reranker) -> dict[str, int]:
    """Bytes at the peak so far, and what of them is accounted for."""
    peak, weights, cache = peak_memory(), reranker.state.model.nbytes, reranker.cache.memory.bytes
    slack = peak - weights - cache
    return {"peak": peak, "weights": weights, "cache": cache, "beyond_weights_and_cache": slack}
