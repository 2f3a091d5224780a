"""What one training step runs: distinct headers, first and second segments, and pairs of them.

Method, section 4, in its training form: a first segment is read once for all the second segments it
meets, a second segment below the band once for every place it starts at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from minireranker.engine.draft import Segment

_Part = TypeVar("_Part", bound=Hashable)


@dataclass(frozen=True, eq=False)
class WrittenPair:
    """The three segments of one (query, document)."""

    header: Segment
    first: Segment
    second: Segment


@dataclass
class PairBatch:
    """Pairs by their distinct parts; indices instead of repeats."""

    headers: list[Segment] = field(default_factory=list)
    firsts: list[tuple[Segment, int]] = field(default_factory=list)
    """First segments, each with its header."""
    seconds: list[tuple[Segment, int, int]] = field(default_factory=list)
    """Second segments, each with its header and the absolute position it starts at."""
    pairs: list[tuple[int, int]] = field(default_factory=list)
    """(first, second)."""

    @classmethod
    def of(cls, pairs: Sequence[WrittenPair], *, share: bool = True) -> PairBatch:
        """Of pairs whose equal parts are the same object; ``share=False``: each pair for itself."""
        batch = cls()
        headers: dict[object, int] = {}
        firsts: dict[object, int] = {}
        seconds: dict[object, int] = {}
        for number, pair in enumerate(pairs):
            alone = () if share else (number,)
            header = _place(headers, (id(pair.header), *alone), batch.headers, pair.header)
            first = pair.first if share else dataclasses.replace(pair.first)
            second = pair.second if share else dataclasses.replace(pair.second)
            start = pair.header.span + pair.first.span
            batch.pairs.append(
                (
                    _place(firsts, (id(pair.first), header), batch.firsts, (first, header)),
                    _place(
                        seconds,
                        (id(pair.second), header, start),
                        batch.seconds,
                        (second, header, start),
                    ),
                )
            )
        return batch

    @property
    def tokens(self) -> int:
        """Rows below the band and, again, those of the pairs: what a step holds on to."""
        first = sum(len(segment) for segment, _ in self.firsts)
        return first + sum(len(self.seconds[second][0]) for _, second in self.pairs)


def _place(seen: dict[object, int], key: object, parts: list[_Part], part: _Part) -> int:
    if key not in seen:
        seen[key] = len(parts)
        parts.append(part)
    return seen[key]
