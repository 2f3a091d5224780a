"""How far two rankings of the same documents agree, whatever is relevant."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from minireranker.errors import ConfigurationError

__all__ = ["kendall_tau", "overlap"]


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b of two scorings of the same n documents, -1 to 1; ties are corrected for.

    tau-b = (concordant - discordant) / sqrt((pairs - ties in first) (pairs - ties in second))
    (Kendall 1945). Infinities are numbers like others; NaN where one of the scorings ties all
    documents, or there are fewer than two. Raises ConfigurationError for different lengths and NaN.
    """
    if len(first) != len(second):
        raise ConfigurationError(f"{len(first)} and {len(second)} scores; pass one for each")
    pairs = sorted(zip(first, second, strict=True))
    if any(math.isnan(number) for pair in pairs for number in pair):
        raise ConfigurationError("a score is NaN; leave such documents out, or score them -inf")
    total = math.comb(len(pairs), 2)
    tied_first, tied_second, tied_both = (
        _tied(values) for values in ([a for a, _ in pairs], [b for _, b in pairs], pairs)
    )
    scale = math.sqrt((total - tied_first) * (total - tied_second))
    if not scale:
        return math.nan
    discordant = _discordant(pairs)
    # Each pair is concordant, discordant, or tied in one scoring or both.
    concordant = total - tied_first - tied_second + tied_both - discordant
    return (concordant - discordant) / scale


def overlap(first: Sequence[str], second: Sequence[str], k: int = 10) -> float:
    """Share of the first ``k`` of one ranking that are in the first ``k`` of the other, 0 to 1.

    Of shorter rankings, all; NaN where one is empty. Raises ConfigurationError for ``k``.
    """
    if type(k) is not int or k < 1:
        raise ConfigurationError(f"k = {k!r}: allowed is 1 or more")
    size = min(k, max(len(first), len(second)))
    if not first or not second:
        return math.nan
    return len(set(first[:k]) & set(second[:k])) / size


def _tied(values: Iterable[object]) -> int:
    """Pairs with the same value."""
    return sum(math.comb(count, 2) for count in Counter(values).values())


def _discordant(pairs: Sequence[tuple[float, float]]) -> int:
    """Of pairs sorted by the first number: those where the second runs the other way."""
    found, seen = 0, list[float]()
    for _, group in groupby(pairs, key=lambda pair: pair[0]):
        seconds = [number for _, number in group]
        found += sum(len(seen) - bisect_right(seen, number) for number in seconds)
        for number in seconds:
            insort(seen, number)
    return found
