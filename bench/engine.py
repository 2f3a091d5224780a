"""One query against a hundred cached images: the reduced pass beside the dense model, in one run.

What is printed and written: seconds of the warm pass; seconds of the same pairs through the
unmodified ``transformers`` model (a sample of the pairs, scaled up); the share of the machine's own
matrix-product rate that the pass reaches on the arithmetic that is left; peak memory against
weights, cache and slack. Nothing is reported unless the scores equal the full-sequence model's in
float32.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.errors import ConfigurationError

from .machine import describe_machine, gemm_rate, median_seconds, peak_memory

if TYPE_CHECKING:
    from minireranker import Document, Reranker

QUERY = (
    "Which page shows the quarterly revenue of the northern region as a bar chart, "
    "with the numbers for each month in a table below it?"
)


@dataclass(frozen=True)
class EngineBench:
    """What to measure. ``side``: pixels of the square images; ``sample``: dense pairs timed."""

    model: Path
    profile: str = "mini"
    dtype: str = "bfloat16"
    documents: int = 100
    side: int = 512
    repeats: int = 3
    sample: int = 3
    seed: int = 0


def run(bench: EngineBench, progress: bool | None = False) -> dict[str, Any]:
    """Measure; returns the result as JSON-able data. Raises ConfigurationError if scores differ.

    ``progress``: of reading the images, see ``Reranker.index``.
    """
    from minireranker import Reranker

    base = peak_memory()
    reranker = Reranker.from_pretrained(bench.model, profile=bench.profile, dtype=bench.dtype)
    loaded = peak_memory()
    documents = draw(bench)
    start = time.perf_counter()
    ids = reranker.index(documents, progress=progress)
    index_seconds = time.perf_counter() - start
    cold_peak = peak_memory()
    warm = _warm(reranker, list(ids), bench)
    warm |= {"index_seconds": index_seconds, "index_vision_patches": ids.work.vision_patches}
    memory = {
        "before_loading": base,
        "after_loading": loaded,
        "after_indexing": cold_peak,
        "peak": peak_memory(),
        "weights": reranker.state.model.nbytes,
        "cache": reranker.cache.bytes,
    }
    memory["beyond_weights_and_cache"] = memory["peak"] - memory["weights"] - memory["cache"]
    agreement = _agreement(reranker, documents, bench)
    dense = _dense(reranker, documents, bench)
    agreement["full_sequence_error"] = max(
        abs(a - b)
        for a, b in zip(dense.pop("reduced_scores"), agreement.pop("exact_scores"), strict=True)
    )
    return {
        "machine": describe_machine(),
        "workload": {**dataclasses.asdict(bench), "model": bench.model.name, "query": QUERY},
        "mini": warm,
        "dense": dense,
        "agreement": agreement,
        "memory_bytes": memory,
        "mini_over_dense": warm["seconds"] / dense["seconds"],
    }


def draw(bench: EngineBench) -> list[Document]:
    """Square images of smooth noise, with random importances (half of the tokens are kept)."""
    import numpy as np
    from PIL import Image

    from minireranker import Document

    random = np.random.default_rng(bench.seed)
    documents = []
    for _ in range(bench.documents):
        coarse = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((bench.side, bench.side), Image.Resampling.BICUBIC)
        documents.append(Document(image=image, importances=random.random((bench.side // 32) ** 2)))
    return documents


def _warm(reranker: Reranker, ids: list[Any], bench: EngineBench) -> dict[str, Any]:
    """The pass over cached documents: its time, and how much of the machine it uses."""
    seconds = median_seconds(lambda: reranker.rank(QUERY, ids), bench.repeats)
    ranking = reranker.rank(QUERY, ids)
    suffix = ranking.work.pair_token_layers // (len(ids) * _pair_layers(reranker))
    products, attention = arithmetic(reranker, len(ids), suffix)
    text = reranker.state.model.config.text
    rate = gemm_rate(
        len(ids) * suffix, text.hidden_size, text.intermediate_size, reranker.state.model.dtype
    )
    return {
        "seconds": seconds,
        "suffix_tokens": suffix,
        "prefix_tokens": _prefix_tokens(reranker, ids),
        "token_layers": ranking.work.token_layers,
        "vision_patches": ranking.work.vision_patches,
        "stages_seconds": dataclasses.asdict(ranking.timings),
        "flop_products": products,
        "flop_attention": attention,
        "gemm_flop_per_second": rate,
        "share_of_gemm_rate": (products + attention) / seconds / rate,
    }


def _pair_layers(reranker: Reranker) -> int:
    band = reranker.state.band
    return band.exit_layer - band.meeting_layer


def _prefix_tokens(reranker: Reranker, ids: list[Any]) -> float:
    layers = len(reranker.state.band.prefix_layers)
    text = reranker.state.model.config.text
    width = 2 * layers * text.num_key_value_heads * text.head_dim
    return reranker.cache.bytes / (width * reranker.state.model.dtype.itemsize * len(ids))


def arithmetic(reranker: Reranker, documents: int, suffix: int) -> tuple[float, float]:
    """FLOP of the warm pass: matrix products, and attention. Elementwise work is not counted.

    A multiply and an add are two. Per layer and row: Q, K, V, output, gate, up, down; in the first
    pair layer Q, K and V are computed once a second segment (here: once), and the last layer does
    Q, output and MLP for one row a pair.
    """
    text, band = reranker.state.model.config.text, reranker.state.band
    width = text.num_attention_heads * text.head_dim
    kv = 2 * text.hidden_size * text.num_key_value_heads * text.head_dim
    query = text.hidden_size * width
    rest = query + 3 * text.hidden_size * text.intermediate_size
    rows, below, pair_layers = documents * suffix, band.meeting_layer, _pair_layers(reranker)
    products = float(suffix * below * (kv + query + rest))
    for at in range(pair_layers):
        entering, last = at == 0, at == pair_layers - 1
        products += (suffix if entering else rows) * kv
        products += (documents if last else suffix if entering else rows) * query
        products += (documents if last else rows) * rest
    seen = _seen_tokens(reranker, documents, suffix)
    queries = rows * (pair_layers - 1) + documents
    return 2 * products, 4.0 * queries * seen * width


def _seen_tokens(reranker: Reranker, documents: int, suffix: int) -> float:
    """Keys a second segment's tokens see in the band: header, first segment, half of their own."""
    state = reranker.state
    header = len(state.prompt.header(state.profile.template.instruction, False))
    layers = max(len(state.band.prefix_layers), 1)
    text = state.model.config.text
    width = 2 * layers * text.num_key_value_heads * text.head_dim * state.model.dtype.itemsize
    return header + reranker.cache.bytes / (width * documents) + suffix / 2


def _agreement(reranker: Reranker, documents: list[Document], bench: EngineBench) -> dict[str, Any]:
    """The engine beside the full-sequence model in float32, where they must be equal.

    And the errors of both in the measured dtype, against that. Raises ConfigurationError.
    """
    import numpy as np
    import torch

    from minireranker import Reranker

    from .oracle import FullSequenceModel

    sample = documents[: bench.sample]
    measured = reranker.score([QUERY], documents)[0]
    oracle = FullSequenceModel(bench.model, dtype=torch.float32)
    exact = np.array(oracle.scores(reranker, QUERY, sample))
    wide = Reranker.from_pretrained(bench.model, profile=bench.profile, dtype="float32")
    difference = float(np.abs(wide.score([QUERY], sample)[0] - exact).max() / measured.std())
    if not difference <= 1e-4:
        raise ConfigurationError(
            f"scores differ from the full-sequence model by {difference:.3g} of their spread in "
            "float32: no time is reported; report this with the command"
        )
    return {
        "float32_difference_of_spread": difference,
        "spread": float(measured.std()),
        "error": float(np.abs(measured[: bench.sample] - exact).max()),
        "exact_scores": exact.tolist(),
    }


def _dense(reranker: Reranker, documents: list[Document], bench: EngineBench) -> dict[str, Any]:
    """The unmodified model on the same pairs, all layers and all visual tokens."""
    import torch

    from .oracle import FullSequenceModel

    sample = documents[: bench.sample]
    oracle = FullSequenceModel(bench.model, dtype=getattr(torch, bench.dtype))
    full = oracle.scores(reranker, QUERY, sample)
    times = []
    for document in sample:
        start = time.perf_counter()
        oracle.published_score(reranker, QUERY, document)
        times.append(time.perf_counter() - start)
    return {
        "seconds": statistics.median(times) * len(documents),
        "seconds_a_pair": times,
        "sampled_pairs": len(sample),
        "of_pairs": len(documents),
        "reduced_scores": full,
    }
