"""Which visual tokens of an image or video are kept, given what each is worth.

Method, section 3: the top ``ceil(keep * n)`` of each image or video, in their original order. Where
the importances come from is the caller's business (an embedder's attention, a retriever's).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireranker.errors import ImportanceError

from .pixels import Visual


def kept_tokens(
    visuals: Sequence[Visual], importances: Sequence[Any], keep_ratio: float
) -> tuple[NDArray[np.int64], ...]:
    """Ascending indices of the merged tokens kept, one array a visual.

    ``importances`` is empty, or has for each visual an array of one finite number a token (any
    shape, row-major over frames, rows, columns) or None. Raises ImportanceError, also where a ratio
    below 1 has no importances to go by.
    """
    if importances and len(importances) != len(visuals):
        raise ImportanceError(
            f"{len(importances)} importance arrays for {len(visuals)} images and videos; give one "
            "for each, videos first, or None where unknown"
        )
    given = list(importances) or [None] * len(visuals)
    return tuple(_kept(v, g, keep_ratio) for v, g in zip(visuals, given, strict=True))


def _kept(visual: Visual, importance: Any, keep_ratio: float) -> NDArray[np.int64]:
    everything = np.arange(visual.tokens)
    if keep_ratio == 1.0:
        return everything
    if importance is None:
        raise ImportanceError(
            f"{keep_ratio:g} of the visual tokens are to be kept, but nothing says which: load the "
            "reranker with embedder=... (--embedder), pass Document(importances=...), or keep all "
            "with keep_ratio=1.0 (--keep-ratio 1)"
        )
    worth = _checked(visual, importance)
    # The ratio as it is written: 0.1 is a tenth here, not the binary number just above it.
    count = math.ceil(Fraction(str(float(keep_ratio))) * visual.tokens)
    # Stable: of equal tokens the earlier one is kept.
    return np.sort(np.argsort(-worth, kind="stable")[:count])


def _checked(visual: Visual, importance: Any) -> NDArray[np.float64]:
    try:
        worth = np.asarray(importance, dtype=np.float64).reshape(-1)
    except (
        TypeError,
        ValueError,
        OverflowError,
        RuntimeError,
    ) as error:  # torch raises RuntimeError
        raise ImportanceError(f"importances are not an array of numbers: {error}") from error
    if worth.size != visual.tokens:
        frames, height, width = visual.grid
        raise ImportanceError(
            f"{worth.size} importances for {visual.tokens} visual tokens ({frames} x {height // 2} "
            f"x {width // 2} frames, rows, columns); resample them to that grid"
        )
    finite = np.isfinite(worth)
    if not finite.all():
        at = int(np.argmin(finite))
        raise ImportanceError(
            f"{worth.size - finite.sum()} of {worth.size} importances are NaN or infinity, first "
            f"number {at}: {worth[at]}; every token needs a finite number"
        )
    return worth
