"""The demo's corpus: pages, charts and pictures drawn on the spot, so that nothing is downloaded.

The same seed gives the same pixels (with one version of Pillow), and a file depends on its own
number only: the first ten of a hundred are the ten of a corpus of ten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

from minireranker.errors import ConfigurationError

from .drawing_charts import draw_chart
from .drawing_pages import draw_page
from .drawing_pictures import draw_picture

__all__ = ["Drawing", "draw_corpus"]

_KINDS = {"page": draw_page, "chart": draw_chart, "picture": draw_picture}


@dataclass(frozen=True)
class Drawing:
    """One drawn file."""

    path: Path
    caption: str
    """What it shows, in one line."""
    kind: str
    """``"page"``, ``"chart"`` or ``"picture"``."""


def draw_corpus(folder: Path | str, count: int = 100, seed: int = 0) -> list[Drawing]:
    """Draw ``count`` files into ``folder`` (made if missing), a third of each kind.

    Sides are 400 to 832 pixels; two files in five are JPEG, the others PNG. Raises
    ConfigurationError for a count below 1 or a folder that cannot be written.
    """
    if count < 1:
        raise ConfigurationError(f"count = {count}: a corpus has at least 1 file")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_draw(folder, index, seed) for index in range(count)]
    except OSError as error:
        raise ConfigurationError(
            f"cannot write the drawn files to {folder}: {error.strerror or error}; "
            "name a folder that can be written"
        ) from error


def _draw(folder: Path, index: int, seed: int) -> Drawing:
    rng = Random(f"{seed}/{index}")
    kind = list(_KINDS)[index % len(_KINDS)]
    image, caption = _KINDS[kind](rng)
    slug = re.sub(r"[^a-z0-9]+", "-", caption.lower()).strip("-")
    is_jpeg = index % 5 in (1, 3)
    path = folder / f"{index:03d}-{slug}.{'jpg' if is_jpeg else 'png'}"
    image.save(path, quality=90) if is_jpeg else image.save(path, compress_level=3)
    return Drawing(path, caption, kind)
