"""What each codec does to scores and ranks: the same pairs, the same model, entries re-coded.

Entries are read once, exactly; every codec gets those, and what the engine computes from them is
compared with what it computes from the exact ones.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.errors import ConfigurationError

from . import codec_inputs
from .comparison import Say
from .machine import describe_machine, median_seconds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minireranker import Cache, DocumentId, Reranker
    from minireranker.cache import PrefixEntry

__all__ = ["CodecBench", "run"]

TOP = 10


@dataclass(frozen=True)
class CodecBench:
    """What to compare."""

    model: Path
    """A checkpoint directory; ``Path("builtin")`` is the built-in model."""
    profile: str = "mini"
    dtype: str = "bfloat16"
    queries: int = 200
    documents: int = 100
    side: int = 256
    """Of the square images, pixels."""
    scenes: bool = False
    """Drawn scenes and queries about them, which the built-in model knows, instead of noise."""
    float32: bool = False
    """Also read and score everything in float32: what the model's own dtype costs, to compare."""
    seed: int = 0


def run(bench: CodecBench, say: Say = lambda line: None) -> dict[str, Any]:
    """Measure; returns the result as JSON-able data. Raises what ``Reranker`` raises."""
    from minireranker.cache import CODECS

    say(f"loading {bench.model.name}")
    reranker = _load(bench, bench.dtype)
    shown = "scenes" if bench.scenes else f"images of {bench.side} x {bench.side} pixels"
    say(f"indexing {bench.documents} {shown}")
    ids, entries = _read(bench, reranker)
    queries, scores, rows = codec_inputs.queries(bench), {}, {}
    for codec in CODECS:
        say(f"{codec}: scoring {len(queries)} queries x {len(ids)} documents")
        recoded = _recoded(reranker, entries, codec)
        start = time.perf_counter()
        scores[codec] = recoded.score(queries, ids, progress=False)
        seconds = (time.perf_counter() - start) / len(queries)
        rows[codec] = _cost(recoded.cache, list(entries)) | {"seconds_a_query": seconds}
    exact = scores["exact"]
    for codec, found in scores.items():
        rows[codec] |= compared(exact, found)
    if bench.float32:
        say("the same in float32, exact")
        wide = _load(bench, "float32")
        reference = wide.score(queries, _read(bench, wide)[0], progress=False)
    return {
        "machine": describe_machine(),
        "workload": dataclasses.asdict(bench) | {"model": bench.model.name},
        "spread": float(exact.std(axis=1).mean()),
        "codecs": rows,
        "own_dtype_against_float32": compared(reference, exact) if bench.float32 else None,
    }


def compared(
    exact: NDArray[np.float32], found: NDArray[np.float32], top: int = TOP
) -> dict[str, float]:
    """Differences of scores [queries, documents] and of the ranks they give.

    ``of_spread`` is the root mean square difference over the standard deviation of a query's exact
    scores. ``top_overlap`` is the share of a query's first ``top`` documents that stay among them;
    ``same_first`` and ``same_top`` the share of queries whose first document, and whose first
    ``top`` in their order, are the same.
    """
    import numpy as np

    top = min(top, exact.shape[1])
    delta = np.abs(found.astype(np.float64) - exact)
    first = [np.argsort(-rows, axis=1, kind="stable")[:, :top] for rows in (exact, found)]
    overlap = [len(set(a) & set(b)) / top for a, b in zip(*first, strict=True)]
    return {
        "largest_delta": float(delta.max()),
        "of_spread": float(np.sqrt((delta**2).mean()) / exact.std(axis=1).mean()),
        "top_overlap": float(np.mean(overlap)),
        "same_first": float((first[0][:, 0] == first[1][:, 0]).mean()),
        "same_top": float((first[0] == first[1]).all(axis=1).mean()),
    }


def _load(bench: CodecBench, dtype: str) -> Reranker:
    from minireranker import Reranker

    return Reranker.from_pretrained(bench.model, profile=bench.profile, dtype=dtype, device="cpu")


def _read(bench: CodecBench, reranker: Reranker) -> tuple[list[DocumentId], dict[str, PrefixEntry]]:
    """Ids, and exact entries by key."""
    from minireranker.cache import PrefixEntry

    indexed = reranker.index(codec_inputs.documents(bench, reranker.profile.limits))
    if indexed.failed:
        raise ConfigurationError(f"an image could not be indexed: {indexed.failed[0]}")
    entries = {key: reranker.cache.get(key, PrefixEntry) for key in indexed.keys if key}
    found = {key: entry for key, entry in entries.items() if entry is not None}
    if len(found) < len(set(indexed.keys)):
        raise ConfigurationError(
            f"{len(indexed) - len(found)} images have no entry in memory; use a profile whose "
            "template.order is vision-first, or fewer documents"
        )
    return [name for name in indexed if name is not None], found


def _recoded(reranker: Reranker, entries: dict[str, PrefixEntry], codec: str) -> Reranker:
    """The same model over entries as another codec keeps them."""
    import torch

    from minireranker import Cache, Reranker
    from minireranker.cache import PrefixEntry

    cache = Cache(codec=codec)
    for key, entry in entries.items():
        k, v = (torch.stack(part) for part in zip(*map(entry.layer, _layers(entry)), strict=True))
        cache.put(key, PrefixEntry.encoded(codec, k, v, span=entry.span, tokens=entry.tokens))
    return Reranker(dataclasses.replace(reranker.state, cache=cache), codec)


def _layers(entry: PrefixEntry) -> range:
    return range(next(iter(entry.parts.values())).shape[0])


def _cost(cache: Cache, keys: Sequence[str]) -> dict[str, float]:
    """Bytes a token kept, and the seconds of taking all entries from memory and decoding them."""
    import torch

    from minireranker.cache import PrefixEntry

    entries = [entry for key in keys if (entry := cache.get(key, PrefixEntry)) is not None]

    def decode() -> None:
        for key in keys:
            entry = cache.get(key, PrefixEntry)
            if entry is not None:
                for at in _layers(entry):
                    entry.layer(at)

    tokens = sum(entry.tokens for entry in entries)
    return {
        "bytes_a_token": sum(entry.nbytes for entry in entries) / tokens,
        "decode_seconds": torch.inference_mode()(median_seconds)(decode, 3),
    }
