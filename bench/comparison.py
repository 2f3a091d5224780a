"""The reduced pass beside the whole model of ``transformers``: is it the same, how long is that."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from minireranker.errors import ConfigurationError

if TYPE_CHECKING:
    import torch

    from minireranker import Document, Reranker

    from .oracle import FullSequenceModel

__all__ = ["Say", "agreement", "dense"]

Say: TypeAlias = Callable[[str], None]
"""Called with a line before each step."""

_TOLERANCE = 1e-4
"""Largest difference to the full sequence in float32, as a share of the scores' spread."""


def agreement(
    reranker: Reranker, query: str, documents: Sequence[Document], count: int, say: Say
) -> tuple[dict[str, Any], list[float]]:
    """The engine beside the full sequence in float32, on the first ``count`` documents.

    Returns the difference as a share of the spread of all documents' scores, that spread, and the
    engine's error in its own dtype; and the float32 scores. Raises ConfigurationError for a
    difference over 1e-4 of the spread.
    """
    import numpy as np
    import torch

    from minireranker import Reranker

    sample = documents[:count]
    measured = reranker.score([query], documents)[0]
    say(f"scoring {len(sample)} as full sequences in float32")
    exact = _full_sequence(reranker, torch.float32).scores(reranker, query, sample)
    say("the same by the engine in float32")
    wide = Reranker.from_pretrained(
        reranker.checkpoint, profile=reranker.profile, dtype="float32", device="cpu"
    )
    difference = float(np.abs(wide.score([query], sample)[0] - exact).max() / measured.std())
    if not difference <= _TOLERANCE:
        raise ConfigurationError(
            f"scores differ from the full-sequence model by {difference:.3g} of their spread in "
            "float32: no time is reported; report this with the command"
        )
    return {
        "float32_difference_of_spread": difference,
        "spread": float(measured.std()),
        "error": float(np.abs(measured[: len(sample)] - exact).max()),
    }, exact


def dense(
    reranker: Reranker, query: str, documents: Sequence[Document], count: int, say: Say
) -> tuple[dict[str, Any], list[float]]:
    """The unmodified model on the first ``count`` pairs: all layers, all visual tokens.

    Returns its seconds, a pair and scaled to all documents; and those pairs' reduced scores as full
    sequences, both in the engine's dtype.
    """
    sample, times = documents[:count], []
    say(f"loading the dense model and scoring {len(sample)} as full sequences by it")
    oracle = _full_sequence(reranker, reranker.state.model.dtype)
    full = oracle.scores(reranker, query, sample)
    for number, document in enumerate(sample, 1):
        say(f"dense pair {number} of {len(sample)}")
        start = time.perf_counter()
        oracle.published_score(reranker, query, document)
        times.append(time.perf_counter() - start)
    return {
        "seconds": statistics.median(times) * len(documents),
        "seconds_a_pair": times,
        "sampled_pairs": len(sample),
        "of_pairs": len(documents),
    }, full


def _full_sequence(reranker: Reranker, dtype: torch.dtype) -> FullSequenceModel:
    from .oracle import FullSequenceModel

    return FullSequenceModel(reranker.checkpoint, dtype=dtype)
