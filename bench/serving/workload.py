"""What is asked: short queries, each with some of the documents that were indexed before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from minireranker.scenes import COLOURS, SHAPES

__all__ = ["Workload"]


@dataclass(frozen=True)
class Workload:
    """Texts over the words of drawn scenes; the same ones for everybody who is compared."""

    documents: int
    """Indexed."""
    per_request: int

    @property
    def texts(self) -> dict[str, str]:
        """Of documents, by their ids."""
        pairs = itertools.cycle(itertools.product(COLOURS, SHAPES))
        return {
            f"d{number}": f"{colour} {shape} number {number} of a page with some more figures"
            for number, (colour, shape) in zip(range(self.documents), pairs, strict=False)
        }

    def requests(self) -> Iterator[tuple[str, list[str]]]:
        """A query and ids of documents, without end."""
        colours, names = itertools.cycle(COLOURS), list(self.texts)
        for number in itertools.count():
            start = number * self.per_request
            chosen = [names[(start + at) % len(names)] for at in range(self.per_request)]
            yield f"page {number % 997} with a {next(colours)} figure", chosen
