"""Which pairs go into which batch: settled for the whole run before its first step.

Pairs that share their reused side follow one another, so that a batch reads it once for all of
them. Sides, and the pairs of one side, are shuffled anew each epoch, by seed and epoch alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .examples import Examples
from .survey import Survey, is_query_first

Numbers = NDArray[np.int64]
"""Places in ``Examples.pairs``."""


@dataclass(frozen=True)
class Bound:
    """On one batch; one pair may exceed the tokens alone."""

    pairs: int
    tokens: int


@dataclass(frozen=True)
class Group:
    """Pairs of one reused side."""

    first: int
    """Tokens of that side."""
    numbers: Numbers
    seconds: NDArray[np.int64]
    """Tokens of each pair's other side."""


@dataclass
class _Batch:
    """One that is being filled."""

    bound: Bound
    numbers: list[int] = field(default_factory=list)
    tokens: int = 0

    def has_room(self, tokens: int, pairs: int) -> bool:
        fits = self.tokens + tokens <= self.bound.tokens
        return not self.numbers or (fits and len(self.numbers) + pairs <= self.bound.pairs)


def grouped(examples: Examples, survey: Survey, order: str) -> list[Group]:
    """The usable pairs by their reused side, in the order of the data."""
    found: dict[tuple[int, bool, str | None], list[int]] = {}
    seconds: dict[int, int] = {}
    for number in survey.usable(examples):
        pair = examples.pairs[number]
        query_first = is_query_first(pair, examples, order)
        first, second = (pair.query, pair.document)[:: 1 if query_first else -1]
        found.setdefault((first, query_first, pair.instruction), []).append(number)
        seconds[number] = survey.lengths[second, False]
    return [
        Group(
            survey.lengths[first, True],
            np.array(numbers, np.int64),
            np.array([seconds[number] for number in numbers], np.int64),
        )
        for (first, _, _), numbers in found.items()
    ]


def batches(
    groups: Sequence[Group], bound: Bound, shuffle: tuple[int, int] | None = None
) -> list[Numbers]:
    """All pairs of ``groups`` once, in batches within ``bound``.

    ``shuffle``: (seed, epoch); None: in their order.
    """
    random = None if shuffle is None else np.random.default_rng(shuffle)
    order = range(len(groups)) if random is None else random.permutation(len(groups)).tolist()
    return list(_filled((groups[at] for at in order), bound, random))


def steps(
    groups: Sequence[Group],
    bound: Bound,
    *,
    seed: int,
    epochs: int,
    together: int,
    most: int | None = None,
) -> list[list[Numbers]]:
    """The batches of every step, ``together`` a step but for the last of an epoch."""
    out: list[list[Numbers]] = []
    for epoch in range(epochs):
        found = batches(groups, bound, (seed, epoch))
        out += [found[at : at + together] for at in range(0, len(found), together)]
        if most is not None and len(out) >= most:
            return out[:most]
    return out


def _filled(
    groups: Iterator[Group], bound: Bound, random: np.random.Generator | None
) -> Iterator[Numbers]:
    batch = _Batch(bound)
    for group in groups:
        count = len(group.numbers)
        # A side that fits a batch of its own is not torn in two.
        if not batch.has_room(group.first + int(group.seconds.sum()), count):
            yield np.array(batch.numbers, np.int64)
            batch = _Batch(bound)
        batch.tokens += group.first
        for at in range(count) if random is None else random.permutation(count):
            if not batch.has_room(int(group.seconds[at]), 1):
                yield np.array(batch.numbers, np.int64)
                batch = _Batch(bound, tokens=group.first)
            batch.numbers.append(int(group.numbers[at]))
            batch.tokens += int(group.seconds[at])
    if batch.numbers:
        yield np.array(batch.numbers, np.int64)
