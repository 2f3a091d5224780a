"""Small pictures of images and videos, as data URIs: the report is one file."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING, Any

from minireranker.configs import Limits
from minireranker.engine.media import load_image
from minireranker.engine.types import KeptVisual
from minireranker.engine.video import load_video
from minireranker.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["image_uri", "video_uri"]

_FEW_FRAMES = Limits(video_min_frames=2, video_max_frames=2)


def image_uri(source: Any, side: int = 400, kept: KeptVisual | None = None) -> str | None:
    """A JPEG ``data:`` URI of an image (any ImageSource) within a square of ``side`` pixels.

    Visual tokens that were not ``kept`` are faded. None for what cannot be read: a report is still
    a report without a picture.
    """
    try:
        return _encoded(load_image(source, Limits()), side, kept)
    except (InputError, MissingDependencyError):
        return None


def video_uri(source: Any, side: int = 400, kept: KeptVisual | None = None) -> str | None:
    """Like ``image_uri``, of a video's first frame (path, bytes, or a sequence of frames)."""
    try:
        return _encoded(load_video(source, _FEW_FRAMES).images[0], side, kept)
    except (InputError, MissingDependencyError):
        return None


def _encoded(image: Image, side: int, kept: KeptVisual | None) -> str:
    image.thumbnail((side, side))
    if kept is not None and len(kept.indices) < math.prod(kept.grid):
        image = _faded(image, kept)
    target = io.BytesIO()
    image.save(target, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()


def _faded(image: Image, kept: KeptVisual) -> Image:
    """The picture (or first frame) with what was dropped nearly white."""
    import numpy as np
    from PIL import Image

    frames, rows, columns = kept.grid
    mask = np.zeros(frames * rows * columns, np.uint8)
    mask[kept.indices] = 255
    cells = Image.fromarray(mask[: rows * columns].reshape(rows, columns))
    pale = Image.blend(image, Image.new("RGB", image.size, "white"), 0.78)
    return Image.composite(image, pale, cells.resize(image.size, Image.Resampling.NEAREST))
