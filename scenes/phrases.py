"""Queries and their meaning: what is asked for, in words, and whether a scene has it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .scene import Figure, Scene


class Relation(Enum):
    """How the first figure lies to the second; the value is the wording."""

    LEFT = "left of"
    RIGHT = "right of"
    ABOVE = "above"
    BELOW = "below"

    @property
    def opposite(self) -> Relation:
        """The other way round."""
        return _OPPOSITES[self]

    def holds(self, first: Figure, second: Figure) -> bool:
        """Whether ``first`` lies so to ``second``."""
        if self in (Relation.LEFT, Relation.RIGHT):
            shift = second.column - first.column
        else:
            shift = second.row - first.row
        return shift > 0 if self in (Relation.LEFT, Relation.ABOVE) else shift < 0


_OPPOSITES = {
    Relation.LEFT: Relation.RIGHT,
    Relation.RIGHT: Relation.LEFT,
    Relation.ABOVE: Relation.BELOW,
    Relation.BELOW: Relation.ABOVE,
}


@dataclass(frozen=True)
class Phrase:
    """A figure as described; size and colour may be left open."""

    shape: str
    colour: str | None = None
    size: str | None = None

    @property
    def text(self) -> str:
        """For instance "a small red circle"."""
        words = [word for word in (self.size, self.colour, self.shape) if word]
        article = "an" if words[0][0] in "aeiou" else "a"
        return " ".join([article, *words])

    def fits(self, figure: Figure) -> bool:
        """Whether a figure is one of these."""
        return (
            figure.shape == self.shape
            and self.colour in (None, figure.colour)
            and self.size in (None, figure.size)
        )


@dataclass(frozen=True)
class SceneQuery:
    """A figure, or two and how they lie; without a relation both have to be there."""

    first: Phrase
    second: Phrase | None = None
    relation: Relation | None = None

    @property
    def text(self) -> str:
        """For instance "a red circle left of a blue square"."""
        if self.second is None:
            return self.first.text
        between = self.relation.value if self.relation else "and"
        return f"{self.first.text} {between} {self.second.text}"

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """Its figures, in the order of the words."""
        return (self.first,) if self.second is None else (self.first, self.second)

    def matches(self, scene: Scene) -> bool:
        """Whether it is true of ``scene``."""
        return self.witness(scene) is not None

    def witness(self, scene: Scene) -> tuple[Figure, ...] | None:
        """Figures of the scene that make it true, one a phrase; None if it is not."""
        for one in filter(self.first.fits, scene.figures):
            if self.second is None:
                return (one,)
            for other in filter(self.second.fits, scene.figures):
                if other is not one and (self.relation is None or self.relation.holds(one, other)):
                    return one, other
        return None
