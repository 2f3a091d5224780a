"""A scene as a picture. Each cell is one visual token of the model's grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import TypeAlias

from PIL import Image, ImageDraw

from .scene import GRID, Figure, Scene

CELL = 32
"""Pixels of a cell's side."""
SIDE = GRID * CELL
"""Pixels of a picture's side."""

_SCALE = 3
"""Drawn so much larger, then reduced: smooth edges."""

Point: TypeAlias = tuple[float, float]

_RGB = {
    "red": (214, 48, 49),
    "blue": (38, 84, 201),
    "green": (46, 139, 62),
    "yellow": (240, 205, 40),
    "purple": (128, 60, 170),
    "orange": (240, 130, 30),
    "black": (30, 30, 34),
}
_RADIUS = {"small": 6.0, "large": 13.0}


def draw(scene: Scene) -> Image.Image:
    """RGB, SIDE x SIDE pixels. The same scene gives the same pixels."""
    random = Random(scene.seed)
    paper = tuple(random.randint(225, 250) for _ in range(3))
    image = Image.new("RGB", (SIDE * _SCALE, SIDE * _SCALE), paper)
    pen = ImageDraw.Draw(image)
    for figure in scene.figures:
        _add(pen, figure, random)
    return image.reduce(_SCALE)


def _add(pen: ImageDraw.ImageDraw, figure: Figure, random: Random) -> None:
    radius = _RADIUS[figure.size] * random.uniform(0.9, 1.05)
    slack = CELL / 2 - radius - 1
    centre = tuple(
        (place + 0.5) * CELL + random.uniform(-slack, slack)
        for place in (figure.column, figure.row)
    )
    points = [
        (_SCALE * (centre[0] + radius * x), _SCALE * (centre[1] + radius * y))
        for x, y in _OUTLINES[figure.shape]()
    ]
    shade = random.randint(-12, 12)
    red, green, blue = (min(255, max(0, value + shade)) for value in _RGB[figure.colour])
    pen.polygon(points, fill=(red, green, blue))


def _ring(count: int, start: float, radii: tuple[float, ...] = (1.0,)) -> list[Point]:
    turns = (start + 2 * math.pi * at / count for at in range(count))
    return [
        (radii[at % len(radii)] * math.cos(turn), radii[at % len(radii)] * math.sin(turn))
        for at, turn in enumerate(turns)
    ]


def _square() -> list[Point]:
    return [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]


def _cross() -> list[Point]:
    arm, end = 0.33, 1.0
    corner = [(arm, arm), (arm, end), (-arm, end), (-arm, arm), (-end, arm), (-end, -arm)]
    return [*corner, *((-x, -y) for x, y in corner)]


_OUTLINES: dict[str, Callable[[], list[Point]]] = {
    "circle": lambda: _ring(40, 0.0),
    "square": _square,
    "triangle": lambda: _ring(3, -math.pi / 2),
    "star": lambda: _ring(10, -math.pi / 2, (1.0, 0.42)),
    "cross": _cross,
}
