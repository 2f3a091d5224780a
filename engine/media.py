"""Images as callers have them, as canonical RGB within limits; or refused, with the reason.

The same picture as a path, bytes, PIL image or array gives the same pixels. Nothing here trusts its
input: sizes are read from the header before a pixel is decoded, only a few formats are tried, and a
decoder's own words never reach a message.
"""

from __future__ import annotations

import io
import logging
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from minireranker.configs import Limits
from minireranker.errors import MediaError

from .types import ImageSource

__all__ = ["FORMATS", "check_bytes", "check_size", "load_image", "open_file"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What image files may be; of several frames or pages the first is taken."""

_NO_WHITE = {"I": "32-bit integer", "F": "floating-point"}
"""Modes whose brightest value is not defined, so that scaling to 8 bit would be a guess."""

_log = logging.getLogger(__name__)
_header_lock = threading.Lock()


def load_image(source: ImageSource, limits: Limits) -> Image.Image:
    """An image as upright RGB, transparency on white; the caller's object is not changed.

    ``source``: a path, encoded bytes, a PIL image, or an array [height, width] or
    [height, width, 1 | 3 | 4], uint8 in 0..255 or float in 0..1 (a CPU tensor is one too).
    Raises MediaError for what is outside ``limits``, in another format, missing or damaged.
    """
    label = _label(source)
    if isinstance(source, Image.Image):
        check_size(*source.size, limits, label)
        return _canonical(source, label)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), limits, label)
    if isinstance(source, str | os.PathLike):
        with open_file(source, limits.max_image_bytes, label) as file:
            data = file.read(limits.max_image_bytes + 1)
        return _decode(data, limits, label)
    if hasattr(source, "__array__"):
        return _canonical(_from_array(source, limits, label), label)
    raise MediaError(
        f"{label} is no image: pass a path, bytes, a PIL image, or an array [height, width, 3]"
    )


def open_file(path: str | os.PathLike[str], max_bytes: int, label: str) -> BinaryIO:
    """A regular file of at most ``max_bytes``, open for reading.

    Raises MediaError, beginning with ``label``, for URLs, folders, devices, large or missing files.
    """
    text = os.fspath(path)
    if isinstance(path, str) and ("://" in text or text.startswith("data:")):
        raise MediaError(f"{label} is a URL; URLs are not fetched: download it and pass the bytes")
    try:
        status = os.stat(text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a valid path"
        raise MediaError(f"{label} cannot be opened: {reason}; check the path") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise MediaError(f"{label} is {kind}: pass the path of a file")
    check_bytes(status.st_size, max_bytes, label)
    try:
        return open(text, "rb")
    except OSError as error:
        raise MediaError(f"{label} cannot be read: {error.strerror}") from error


def check_bytes(size: int, max_bytes: int, label: str) -> None:
    """Raise MediaError, beginning with ``label``, for an empty or too large file."""
    if not size:
        raise MediaError(f"{label} is empty: check where it comes from")
    if size > max_bytes:
        raise MediaError(f"{label} has {size} bytes; at most {max_bytes} are read: reduce it")


def check_size(width: int, height: int, limits: Limits, label: str) -> None:
    """Raise MediaError, beginning with ``label``, for a size outside ``limits``."""
    long, short = max(width, height), min(width, height)
    size = f"{label} is {width} x {height} px"
    if width * height > limits.max_source_pixels:
        most = limits.max_source_pixels
        raise MediaError(f"{size}: over {most} pixels (limits.max_source_pixels); reduce it first")
    if long > limits.max_aspect_ratio * max(short, 1):
        most = limits.max_aspect_ratio
        raise MediaError(f"{size}: aspect ratio over {most:g} (limits.max_aspect_ratio); crop it")
    if short < limits.min_side:
        least = limits.min_side
        raise MediaError(f"{size}: a side under {least} px (limits.min_side); leave it out")


def _decode(data: bytes, limits: Limits, label: str) -> Image.Image:
    check_bytes(len(data), limits.max_image_bytes, label)
    with _open(data, limits, label) as image:
        check_size(*image.size, limits, label)
        return _canonical(image, label)


def _open(data: bytes, limits: Limits, label: str) -> Image.Image:
    """The header only. Pillow's size warning is muted: ``limits`` decide, whatever the filters."""
    prefix = data[:16]
    try:
        # catch_warnings swaps state of the whole process, so one thread at a time.
        with _header_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        most = min(limits.max_source_pixels, 2 * (Image.MAX_IMAGE_PIXELS or 0))
        raise MediaError(f"{label} has over {most} pixels, Pillow's limit; reduce it") from error
    except Exception as error:
        known = [name for name in FORMATS if Image.OPEN[name][1](prefix) is True]
        if known or not isinstance(error, UnidentifiedImageError):
            raise MediaError(f"{label} is a damaged or truncated {known[0]}") from error
        raise MediaError(
            f"{label} is not an image in a known format: pass {', '.join(FORMATS)}"
        ) from error


def _canonical(image: Image.Image, label: str) -> Image.Image:
    """Upright 8-bit RGB, a copy."""
    if image.mode in _NO_WHITE:
        what = _NO_WHITE[image.mode]
        raise MediaError(f"{label} has {what} pixels: scale to 0..1 and pass a float array")
    with _decoding(label, image.format or "image"):
        image.load()
        image = _upright(image, label)
        if image.mode.startswith("I;16"):
            image = Image.fromarray(np.rint(np.asarray(image) / 257.0).astype(np.uint8))
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            canvas = Image.new("RGB", layer.size, "white")
            canvas.paste(layer, mask=layer.getchannel("A"))
            return canvas
        return image if image.mode == "RGB" else image.convert("RGB")


@contextmanager
def _decoding(label: str, kind: str) -> Iterator[None]:
    """Hostile bytes may raise anything inside a decoder; all of it means the same to a caller."""
    try:
        yield
    except (MediaError, MemoryError):
        raise
    except Exception as error:
        raise MediaError(f"{label} is a damaged or truncated {kind}") from error


def _upright(image: Image.Image, label: str) -> Image.Image:
    """A copy turned as EXIF says; as it is if EXIF cannot be read, like any viewer shows it."""
    try:
        image.getexif()
    except Exception as error:
        _log.warning("%s has unreadable EXIF data (%s); shown as stored", label, error)
        return image.copy()
    return ImageOps.exif_transpose(image)


def _from_array(source: Any, limits: Limits, label: str) -> Image.Image:
    try:
        array = np.asarray(source)
    except Exception as error:
        raise MediaError(
            f"{label} cannot be read as an array: pass tensor.detach().cpu().numpy()"
        ) from error
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
        shape = "[height, width] or [height, width, 1 | 3 | 4]"
        raise MediaError(f"{label} has shape {list(array.shape)}: pass {shape}")
    check_size(array.shape[1], array.shape[0], limits, label)
    if np.issubdtype(array.dtype, np.floating):
        if not ((array >= 0) & (array <= 1)).all():
            raise MediaError(f"{label} has floats outside 0..1 or NaN: pass 0..1, or uint8")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise MediaError(f"{label} has dtype {array.dtype}: pass uint8, or float in 0..1")
    return Image.fromarray(np.ascontiguousarray(array))


def _label(source: Any) -> str:
    """What a message calls the source; a path is cut, for it may be data passed by mistake."""
    if isinstance(source, str | os.PathLike):
        text = os.fsdecode(source)
        return f"image {text[:100] + '...' if len(text) > 100 else text!r}"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"image of {len(source)} bytes"
    if isinstance(source, Image.Image):
        return f"PIL image in mode {source.mode}"
    if hasattr(source, "shape"):
        return f"array {list(source.shape)}"
    return f"a {type(source).__name__}"
