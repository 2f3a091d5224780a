"""Which bands are run: sight from a layer on, sight before a layer, none."""

from __future__ import annotations

from dataclasses import dataclass

from minireranker.engine.prefix import Band


@dataclass(frozen=True)
class Bands:
    """The blocked passes of a model. Every one runs all layers."""

    layers: int
    step: int

    @property
    def opened(self) -> dict[int, Band]:
        """By the layer from which the second segment sees the first; the last: it never does."""
        starts = [*range(self.step, self.layers, self.step), self.layers]
        return {low: Band(low, self.layers, self.layers) for low in starts}

    @property
    def closed(self) -> dict[int, Band]:
        """By the layer before which it does."""
        ends = range(self.step, self.layers, self.step)
        return {high: Band(0, high, self.layers) for high in ends}

    @property
    def all(self) -> list[Band]:
        """Each once."""
        return [*self.opened.values(), *self.closed.values()]
