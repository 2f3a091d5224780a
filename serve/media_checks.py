"""What an image or a video must not be, told from its header: a server decodes for others.

The limits of a profile say what is scored, and are part of a document's identity in the cache;
those here say how much work one caller may cause, and are the server's.
"""

from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING

from minireranker.errors import MediaError

if TYPE_CHECKING:
    from minireranker.configs import Limits

__all__ = ["check_picture", "check_video"]


def check_picture(data: bytes, limits: Limits, max_pixels: int) -> None:
    """Raise MediaError for an image too large, in another format, or damaged in its header."""
    from PIL import Image

    from minireranker.engine.guards import check_bytes, check_size
    from minireranker.engine.media import FORMATS

    label = f"image of {len(data)} bytes"
    check_bytes(len(data), limits.max_image_bytes, label)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(label, max_pixels) from None
    except Exception:  # whatever hostile bytes raise in a decoder
        accepted = ", ".join(FORMATS)
        raise MediaError(f"{label} is damaged or in no known format: pass {accepted}") from None
    if width * height > max_pixels:
        raise _too_many_pixels(label, max_pixels)
    check_size(width, height, limits, label)


def check_video(data: bytes, limits: Limits, max_pixels: int, max_frames: int) -> None:
    """Raise MediaError for a video too large, too long, or damaged; its packets are counted.

    Raises MissingDependencyError without PyAV.
    """
    from minireranker.engine.guards import check_bytes, decoding
    from minireranker.engine.video_file import VideoFile

    label = f"video of {len(data)} bytes"
    check_bytes(len(data), limits.max_video_bytes, label)
    pixels = min(max_pixels, limits.max_source_pixels)
    tight = dataclasses.replace(limits, max_source_pixels=pixels)
    with decoding(label, "video"):
        index = VideoFile(io.BytesIO(data), tight, label).scan()
    if index.count > max_frames:
        raise MediaError(f"{label} has over {max_frames} frames, what is read here: cut it")


def _too_many_pixels(label: str, most: int) -> MediaError:
    return MediaError(f"{label} has over {most} pixels, what is read here: reduce it first")
