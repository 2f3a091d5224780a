"""A scene: figures on a grid of cells, at most one a cell."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = ("red", "blue", "green", "yellow", "purple", "orange", "black")
SIZES = ("small", "large")
GRID = 4
"""Cells along each side."""


@dataclass(frozen=True)
class Figure:
    """One figure and its cell."""

    shape: str
    colour: str
    size: str
    row: int
    column: int

    @property
    def look(self) -> tuple[str, str, str]:
        """All but the place."""
        return self.size, self.colour, self.shape


@dataclass(frozen=True)
class Scene:
    """Figures in cells of their own; ``seed`` decides what no query speaks of."""

    figures: tuple[Figure, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for a cell that is taken twice or off the grid."""
        cells = [(figure.row, figure.column) for figure in self.figures]
        if len(set(cells)) < len(cells) or not all(
            0 <= place < GRID for cell in cells for place in cell
        ):
            raise ValueError(f"figures at {cells}: one a cell of {GRID} x {GRID}, please")


def random_look(random: Random) -> tuple[str, str, str]:
    """A size, a colour and a shape."""
    return random.choice(SIZES), random.choice(COLOURS), random.choice(SHAPES)


def random_scene(random: Random, figures: tuple[int, int] = (2, 5)) -> Scene:
    """A scene with so many figures, at least and at most; no two of them look alike."""
    count = random.randint(*figures)
    looks: list[tuple[str, str, str]] = []
    while len(looks) < count:
        look = random_look(random)
        if look not in looks:
            looks.append(look)
    return placed(looks, random)


def placed(looks: list[tuple[str, str, str]], random: Random) -> Scene:
    """Figures of those looks in random cells."""
    cells = random.sample(range(GRID * GRID), len(looks))
    return Scene(
        tuple(
            Figure(shape, colour, size, *divmod(cell, GRID))
            for (size, colour, shape), cell in zip(looks, cells, strict=True)
        ),
        random.getrandbits(32),
    )
