"""Drawn pictures: landscapes, the sea, coloured shapes, street maps, faces, houses."""

from __future__ import annotations

from random import Random

from PIL import Image, ImageDraw

from .drawing_ink import COLOURS, blank, soften

__all__ = ["draw_picture"]

_NUMBERS = ("one", "two", "three", "four", "five")
_SKINS = ("#f2d0b1", "#d9a679", "#a8714a", "#7a4b2e")


def draw_picture(rng: Random) -> tuple[Image.Image, str]:
    """One picture and its caption. Drawn at twice its size and reduced: edges are smooth."""
    width, height = rng.choice([(640, 480), (480, 640), (512, 512), (600, 400)])
    image, pen = blank(2 * width, 2 * height)
    scene = rng.choice([_mountains, _sea, _shapes, _map, _face, _house])
    caption = scene(pen, 2 * width, 2 * height, rng)
    return soften(image), caption


def _sky(pen: ImageDraw.ImageDraw, width: int, height: int, top: str, low: str) -> None:
    first, last = (tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in (top, low))
    for y in range(height):
        mix = tuple(round(a + (b - a) * y / height) for a, b in zip(first, last, strict=True))
        pen.line((0, y, width, y), fill=mix)


def _a(colour: str) -> str:
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour}"


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: str) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _mountains(pen: ImageDraw.ImageDraw, width: int, height: int, rng: Random) -> str:
    night = rng.random() < 0.4
    _sky(pen, width, height, *(("#10162b", "#3b3f66") if night else ("#7fb4d9", "#f6e7cf")))
    _disc(pen, rng.uniform(0.15, 0.85) * width, 0.2 * height, height / 14, "#fff3c4")
    shades = ("#2b3350", "#222842", "#181d33") if night else ("#8fa3ad", "#6b8577", "#46614f")
    for layer, shade in enumerate(shades):
        base = height * (0.45 + 0.16 * layer)
        ridge = [(width * x / 8, base + rng.uniform(-0.13, 0.1) * height) for x in range(9)]
        pen.polygon([(0, height), *ridge, (width, height)], fill=shade)
    return f"mountains under the {'moon at night' if night else 'sun by day'}"


def _sea(pen: ImageDraw.ImageDraw, width: int, height: int, rng: Random) -> str:
    name = rng.choice(list(COLOURS))
    _sky(pen, width, height, "#f3b27a", "#fbe6c2")
    _disc(pen, width / 2, height * 0.55, height / 9, "#e8643c")
    pen.rectangle((0, height * 0.56, width, height), fill="#2f6f8f")
    for _ in range(40):
        x, y = rng.uniform(0, width), rng.uniform(0.6, 0.98) * height
        pen.line((x, y, x + width / 14, y), fill="#6fa8bf", width=4)
    x, y, size = rng.uniform(0.3, 0.7) * width, height * 0.66, min(width, height) / 6
    sail = [(x, y - 20), (x, y - size * 1.5), (x + size * 0.9, y - 20)]
    pen.polygon(sail, fill=COLOURS[name])
    hull = [
        (x - size, y),
        (x + size, y),
        (x + size * 0.6, y + size * 0.4),
        (x - size * 0.6, y + size * 0.4),
    ]
    pen.polygon(hull, fill="#4a3628")
    return f"a boat with {_a(name)} sail on the sea at sunset"


def _shapes(pen: ImageDraw.ImageDraw, width: int, height: int, rng: Random) -> str:
    pen.rectangle((0, 0, width, height), fill="#f4f1ea")
    (first, second), count = rng.sample(list(COLOURS), 2), rng.randint(2, 5)
    cells = [(x, y) for x in range(3) for y in range(3)]
    places = rng.sample(cells, count + 1)
    radius = min(width, height) / 8
    middle = [((x + 0.5) * width / 3, (y + 0.5) * height / 3) for x, y in places]
    for x, y in middle[1:]:
        _disc(pen, x, y, radius, COLOURS[first])
    x, y = middle[0]
    pen.rectangle((x - radius, y - radius, x + radius, y + radius), fill=COLOURS[second])
    return f"{_NUMBERS[count - 1]} {first} circles and one {second} square"


def _map(pen: ImageDraw.ImageDraw, width: int, height: int, rng: Random) -> str:
    pen.rectangle((0, 0, width, height), fill="#efe9df")
    park = (rng.uniform(0.05, 0.4) * width, rng.uniform(0.05, 0.5) * height)
    pen.rectangle((*park, park[0] + width * 0.35, park[1] + height * 0.3), fill="#bcd8a8")
    river = [(width * x / 6, height * (0.7 + rng.uniform(-0.15, 0.15))) for x in range(7)]
    for step in range(1, rng.randint(5, 9)):
        x, y = width * step / 9, height * step / 8
        pen.line((x, 0, x + rng.uniform(-80, 80), height), fill="white", width=14)
        pen.line((0, y, width, y + rng.uniform(-80, 80)), fill="white", width=14)
    pen.line(river, fill="#9cc4dd", width=60, joint="curve")
    x, y = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.5) * height
    _disc(pen, x, y, 30, COLOURS["red"])
    _disc(pen, x, y, 11, "white")
    return "a street map with a river, a park and a red marker"


def _face(pen: ImageDraw.ImageDraw, width: int, height: int, rng: Random) -> str:
    wall, hair = rng.sample(list(COLOURS), 2)
    pen.rectangle((0, 0, width, height), fill=COLOURS[wall])
    x, y, size = width / 2, height * 0.52, min(width, height) * 0.3
    pen.ellipse(
        (x - size * 1.1, y - size * 1.35, x + size * 1.1, y + size * 0.7), fill=COLOURS[hair]
    )
    pen.ellipse((x - size * 0.9, y - size, x + size * 0.9, y + size * 1.1), fill=rng.choice(_SKINS))
    for side in (-1, 1):
        _disc(pen, x + side * size * 0.35, y - size * 0.15, size * 0.13, "white")
        _disc(pen, x + side * size * 0.35, y - size * 0.15, size * 0.07, "#22272e")
    smiling = rng.random() < 0.6
    mouth = (x - size * 0.4, y + size * 0.2, x + size * 0.4, y + size * 0.75)
    pen.arc(mouth, *((20, 160) if smiling else (200, 340)), fill="#7a2e2e", width=14)
    return f"a {'smiling' if smiling else 'sad'} face with {hair} hair"


def _house(pen: ImageDraw.ImageDraw, width: int, height: int, rng: Random) -> str:
    roof, door = rng.sample(list(COLOURS), 2)
    _sky(pen, width, height, "#9cc9e6", "#eaf4f8")
    pen.rectangle((0, height * 0.75, width, height), fill="#8fb56f")
    x, y, size = width * 0.42, height * 0.8, min(width, height) * 0.25
    pen.rectangle((x - size, y - size * 1.2, x + size, y), fill="#f3e6d0")
    pen.polygon(
        [(x - size * 1.2, y - size * 1.2), (x, y - size * 2.2), (x + size * 1.2, y - size * 1.2)],
        fill=COLOURS[roof],
    )
    pen.rectangle((x - size * 0.2, y - size * 0.6, x + size * 0.2, y), fill=COLOURS[door])
    for side in (-0.62, 0.62):
        left, top = x + size * side - size * 0.18, y - size * 0.95
        pen.rectangle(
            (left, top, left + size * 0.36, top + size * 0.36),
            fill="#bfe0ee",
            outline="white",
            width=6,
        )
    tree = width * 0.82
    pen.rectangle((tree - 16, y - size, tree + 16, y), fill="#6b4a2f")
    _disc(pen, tree, y - size * 1.3, size * 0.55, "#4f7f4f")
    return f"a house with {_a(roof)} roof, {_a(door)} door and a tree"
