"""Colours, type and words that the drawn corpus is made of."""

from __future__ import annotations

from functools import cache
from random import Random

from PIL import Image, ImageDraw, ImageFont

__all__ = ["COLOURS", "INK", "PAPER", "Box", "blank", "font", "paragraph", "soften", "wrapped"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

COLOURS = {
    "red": "#c8553d",
    "blue": "#33658a",
    "green": "#588157",
    "yellow": "#e9b44c",
    "purple": "#7d5ba6",
    "teal": "#2a9d8f",
    "orange": "#e07a3f",
    "pink": "#d68fa5",
}
"""A colour's name, as a caption says it, and its value."""

INK, PAPER = "#22272e", "#fffdf8"

_SUBJECTS = (
    "The council",
    "Our survey",
    "The harbour",
    "A second trial",
    "The museum",
    "Each team",
)
_VERBS = (
    "reports",
    "describes",
    "measured",
    "replaced",
    "doubled",
    "compares",
    "opened",
    "reviewed",
)
_OBJECTS = (
    "the figures of last spring",
    "two thirds of the older stock",
    "a quiet rise since the autumn",
    "the route along the river",
    "every station in the district",
    "results that nobody expected",
    "the costs of a longer season",
)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's built-in scalable face at ``size`` pixels: no font file is needed anywhere."""
    face = ImageFont.load_default(size)
    assert isinstance(face, ImageFont.FreeTypeFont), "this Pillow was built without FreeType"
    return face


def blank(width: int, height: int, colour: str = PAPER) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An RGB image of one colour, and the pen that draws on it."""
    image = Image.new("RGB", (width, height), colour)
    return image, ImageDraw.Draw(image)


def soften(image: Image.Image, factor: int = 2) -> Image.Image:
    """The image at 1/``factor`` of its size: what was drawn large gets smooth edges."""
    size = (image.width // factor, image.height // factor)
    return image.resize(size, Image.Resampling.LANCZOS)


def paragraph(rng: Random, sentences: int) -> str:
    """A few grammatical sentences about nothing in particular."""
    return " ".join(
        f"{rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)}."
        for _ in range(sentences)
    )


def wrapped(pen: ImageDraw.ImageDraw, text: str, box: Box, size: int, fill: str = INK) -> float:
    """Write ``text`` into ``box``, line by line while there is room; returns where it ended (y)."""
    left, top, right, bottom = box
    face, step, line = font(size), size * 1.4, ""
    for word in [*text.split(), ""]:
        longer = f"{line} {word}".strip()
        if word and pen.textlength(longer, font=face) <= right - left:
            line = longer
            continue
        if top + step > bottom:
            return top
        pen.text((left, top), line, fill=fill, font=face)
        top, line = top + step, word
    return top
