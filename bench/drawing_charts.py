"""Drawn charts: bars, lines and pies with titles, axes and legends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from PIL import Image, ImageDraw

from .drawing_ink import COLOURS, INK, Box, blank, font, soften

__all__ = ["draw_chart"]

_MEASURES = (
    ("coffee sales", "cups"),
    ("rainfall", "mm"),
    ("library visits", "people"),
    ("bicycle traffic", "riders"),
    ("solar power", "MWh"),
    ("ticket prices", "euro"),
)
_AXES = (
    ("month", ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug")),
    ("year", ("2019", "2020", "2021", "2022", "2023", "2024")),
    ("city", ("Lisbon", "Oslo", "Lyon", "Graz", "Cork")),
    ("weekday", ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")),
)
_GRID = "#dcdfe4"


def draw_chart(rng: Random) -> tuple[Image.Image, str]:
    """One chart and its caption. Drawn at twice its size and reduced, so that lines are smooth."""
    width, height = rng.choice([(640, 480), (512, 512), (560, 420), (704, 448)])
    image, pen = blank(2 * width, 2 * height, "#ffffff")
    (measure, unit), (axis, names) = rng.choice(_MEASURES), rng.choice(_AXES)
    kind = rng.choice(["bar chart", "line chart", "pie chart"])
    pen.text((width, 50), f"{measure.capitalize()} by {axis}", INK, font(44), anchor="mm")
    box = (120, 110, 2 * width - 60, 2 * height - 90)
    if kind == "pie chart":
        _pie(pen, box, rng, names[:6])
    else:
        scale = rng.choice([10, 50, 200, 1000])
        _axes(pen, box, names, unit, scale)
        (_bars if kind == "bar chart" else _lines)(pen, box, rng, len(names))
    return soften(image), f"a {kind} of {measure} by {axis}"


def _axes(pen: ImageDraw.ImageDraw, box: Box, names: Sequence[str], unit: str, scale: int) -> None:
    left, top, right, bottom = box
    for tick in range(6):
        y = bottom - (bottom - top) * tick / 5
        pen.line((left, y, right, y), fill=_GRID, width=2)
        pen.text((left - 12, y), f"{scale * tick // 5}", "#6a7079", font(24), anchor="rm")
    pen.text((left - 12, top - 34), unit, "#6a7079", font(24), anchor="rm")
    for place, name in enumerate(names):
        x = left + (right - left) * (place + 0.5) / len(names)
        pen.text((x, bottom + 28), name, "#6a7079", font(24), anchor="mm")
    pen.line((left, bottom, right, bottom), fill=INK, width=3)


def _bars(pen: ImageDraw.ImageDraw, box: Box, rng: Random, count: int) -> None:
    left, top, right, bottom = box
    colour, step = rng.choice(list(COLOURS.values())), (right - left) / count
    for place in range(count):
        x, tall = left + step * place, (bottom - top) * rng.uniform(0.15, 0.97)
        pen.rectangle((x + step * 0.18, bottom - tall, x + step * 0.82, bottom), fill=colour)


def _lines(pen: ImageDraw.ImageDraw, box: Box, rng: Random, count: int) -> None:
    left, top, right, bottom = box
    step = (right - left) / count
    labels = rng.sample(["north", "south", "east", "west"], rng.randint(1, 3))
    colours = rng.sample(list(COLOURS.values()), len(labels))
    for row, (label, colour) in enumerate(zip(labels, colours, strict=True)):
        level, points = rng.uniform(0.3, 0.7), []
        for place in range(count):
            level = min(0.95, max(0.08, level + rng.uniform(-0.2, 0.2)))
            points.append((left + step * (place + 0.5), bottom - (bottom - top) * level))
        pen.line(points, fill=colour, width=6, joint="curve")
        for x, y in points:
            pen.ellipse((x - 8, y - 8, x + 8, y + 8), fill=colour)
        _legend(pen, (right - 130, top + 6 + 36 * row), label, colour)


def _pie(pen: ImageDraw.ImageDraw, box: Box, rng: Random, names: Sequence[str]) -> None:
    left, top, right, bottom = box
    side = min((right - left) * 0.68, bottom - top)
    disc = (left, top, left + side, top + side)
    shares = [rng.uniform(0.5, 2.0) for _ in names]
    colours = rng.sample(list(COLOURS.values()), len(names))
    angle = -90.0
    for row, (name, share, colour) in enumerate(zip(names, shares, colours, strict=True)):
        sweep = 360 * share / math.fsum(shares)
        pen.pieslice(disc, angle, angle + sweep, fill=colour, outline="white", width=5)
        angle += sweep
        percent = round(100 * share / math.fsum(shares))
        _legend(pen, (left + side + 30, top + 30 + 52 * row), f"{name} {percent}%", colour)


def _legend(pen: ImageDraw.ImageDraw, corner: tuple[float, float], label: str, colour: str) -> None:
    x, y = corner
    pen.rectangle((x, y, x + 22, y + 22), fill=colour)
    pen.text((x + 34, y + 11), label, INK, font(26), anchor="lm")
