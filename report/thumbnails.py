"""Small pictures of images and videos, as data URIs: the report is one file."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from minireranker.configs import Limits
from minireranker.engine.media import load_image
from minireranker.engine.video import load_video
from minireranker.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["image_uri", "video_uri"]

_FEW_FRAMES = Limits(video_min_frames=2, video_max_frames=2)


def image_uri(source: Any, side: int = 400) -> str | None:
    """A JPEG ``data:`` URI of an image (any ImageSource) within a square of ``side`` pixels.

    None for what cannot be read: a report is still a report without a picture.
    """
    try:
        return _encoded(load_image(source, Limits()), side)
    except (InputError, MissingDependencyError):
        return None


def video_uri(source: Any, side: int = 400) -> str | None:
    """Like ``image_uri``, of a video's first frame (path, bytes, or a sequence of frames)."""
    try:
        return _encoded(load_video(source, _FEW_FRAMES).images[0], side)
    except (InputError, MissingDependencyError):
        return None


def _encoded(image: Image, side: int) -> str:
    image.thumbnail((side, side))
    target = io.BytesIO()
    image.save(target, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
