"""Drawn document pages: an article, an invoice, a recipe, a timetable."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from PIL import Image, ImageDraw

from .drawing_ink import COLOURS, INK, Box, blank, font, paragraph, wrapped

__all__ = ["draw_page"]

_TOPICS = ("wind power", "city trees", "night trains", "bee keeping", "tidal locks", "old bridges")
_SHOPS = ("Nordlicht Bakery", "Alder & Sons Joinery", "Blue Door Books", "Harbour Cycles")
_GOODS = ("oak board", "rye loaf", "brake cable", "paper, 500 sheets", "lamp", "delivery", "hinges")
_DISHES = ("lentil soup", "plum cake", "mushroom rice", "tomato bread", "pear crumble")
_STUFF = ("200 g flour", "2 onions", "1 lemon", "salt", "3 eggs", "a bay leaf", "50 g butter")
_TOWNS = ("Lisbon", "Porto", "Bergen", "Oslo", "Lyon", "Turin", "Graz", "Gdansk", "Cork", "Ghent")


def draw_page(rng: Random) -> tuple[Image.Image, str]:
    """One page and its caption."""
    width, height = rng.choice([(480, 640), (512, 704), (576, 768), (640, 832)])
    image, pen = blank(width, height)
    accent = rng.choice(list(COLOURS.values()))
    margin = width // 12
    box = (margin, margin, width - margin, height - margin)
    layout = rng.choice([_article, _invoice, _recipe, _timetable])
    caption = layout(pen, box, rng, accent)
    footer = f"page {rng.randint(1, 48)}"
    pen.text((width - margin, height - margin / 2), footer, "#8a8f98", font(11), anchor="rm")
    return image, caption


def _heading(pen: ImageDraw.ImageDraw, box: Box, title: str, accent: str) -> float:
    left, top, right, _ = box
    end = wrapped(pen, title, (left, top, right, top + 90), 26, INK)
    pen.line((left, end + 6, right, end + 6), fill=accent, width=3)
    return end + 20


def _article(pen: ImageDraw.ImageDraw, box: Box, rng: Random, accent: str) -> str:
    topic = rng.choice(_TOPICS)
    left, _, right, bottom = box
    y = _heading(pen, box, f"A short report on {topic}", accent)
    middle = (left + right) / 2
    for column in ((left, y, middle - 10, bottom), (middle + 10, y, right, bottom)):
        top = y
        while top < bottom - 60:
            pen.text((column[0], top), f"{topic.capitalize()} today", accent, font(15))
            area = (column[0], top + 24, column[2], bottom)
            top = wrapped(pen, paragraph(rng, rng.randint(3, 5)), area, 12) + 14
    return f"a report page about {topic}"


def _invoice(pen: ImageDraw.ImageDraw, box: Box, rng: Random, accent: str) -> str:
    shop, total = rng.choice(_SHOPS), 0
    y = _heading(pen, box, f"Invoice  no. {rng.randint(1000, 9999)}", accent)
    y = wrapped(pen, f"{shop}. Payment within 14 days.", (box[0], y, box[2], box[3]), 14) + 16
    rows = [("Item", "Pieces", "Amount")]
    for item in rng.sample(_GOODS, rng.randint(4, 6)):
        pieces, price = rng.randint(1, 9), rng.randint(3, 60)
        total += pieces * price
        rows.append((item, str(pieces), f"{pieces * price}.00"))
    y = _table(pen, (box[0], y, box[2], box[3]), [*rows, ("Total", "", f"{total}.00")], accent)
    wrapped(pen, paragraph(rng, 3), (box[0], y + 24, box[2], box[3]), 12, "#6a7079")
    return f"an invoice from {shop}"


def _recipe(pen: ImageDraw.ImageDraw, box: Box, rng: Random, accent: str) -> str:
    dish = rng.choice(_DISHES)
    left, _, right, bottom = box
    y = _heading(pen, box, dish.capitalize(), accent)
    for item in rng.sample(_STUFF, 5):
        pen.ellipse((left, y + 6, left + 6, y + 12), fill=accent)
        pen.text((left + 16, y), item, INK, font(15))
        y += 24
    steps = ("Warm the pan", "Stir slowly", "Leave to rest", "Season and serve")
    for number, step in enumerate(steps, 1):
        text = f"{number}. {step} for {rng.randint(5, 40)} minutes. {paragraph(rng, 1)}"
        y = wrapped(pen, text, (left, y + 12, right, bottom), 14)
    return f"a recipe for {dish}"


def _timetable(pen: ImageDraw.ImageDraw, box: Box, rng: Random, accent: str) -> str:
    start, end = rng.sample(_TOWNS, 2)
    y = _heading(pen, box, f"{start} to {end}", accent)
    rows = [("Train", "Leaves", "Arrives")]
    hour = 5
    while y + 28 * len(rows) < box[3] - 60 and hour < 20:
        hour += rng.randint(1, 2)
        times = (f"{hour:02d}:{rng.randint(0, 59):02d}", f"{hour + 3:02d}:{rng.randint(0, 59):02d}")
        rows.append((f"IC {rng.randint(100, 999)}", *times))
    _table(pen, (box[0], y, box[2], box[3]), rows, accent)
    return f"a train timetable from {start} to {end}"


def _table(
    pen: ImageDraw.ImageDraw, box: Box, rows: Sequence[tuple[str, ...]], accent: str
) -> float:
    left, top, right, _ = box
    step, face = 28, font(14)
    columns = (left + 8, left + (right - left) * 0.68, right - 8)
    pen.rectangle((left, top, right, top + step), fill=accent)
    for number, row in enumerate(rows):
        y = top + step * number
        for x, cell, anchor in zip(columns, row, ("lm", "rm", "rm"), strict=True):
            pen.text((x, y + step / 2), cell, INK if number else "white", face, anchor=anchor)
        pen.line((left, y + step, right, y + step), fill="#d8d6d0")
    return top + step * len(rows)
