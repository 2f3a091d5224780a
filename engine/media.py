"""Images as callers have them, as canonical RGB within limits; or refused, with the reason.

The same picture as a path, bytes, PIL image or array gives the same pixels. Nothing here trusts its
input: sizes are read from the header before a pixel is decoded, only a few formats are tried, and a
decoder's own words never reach a message.
"""

from __future__ import annotations

import io
import logging
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from minireranker.configs import Limits
from minireranker.errors import MediaError, MinirerankerError

from .content import ImageSource, Picture
from .guards import check_bytes, check_size, decoding, open_file, shown

__all__ = ["FORMATS", "load_image"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What image files may be; of several frames or pages the first is taken."""

_NO_WHITE = {"I": "32-bit integer", "F": "floating-point"}
"""Modes whose brightest value is not defined, so that scaling to 8 bit would be a guess."""

_log = logging.getLogger(__name__)
_header_lock = threading.Lock()


def load_image(source: ImageSource, limits: Limits) -> Image.Image:
    """An image as upright RGB, transparency on white; the caller's object is not changed.

    ``source``: a path, encoded bytes, a PIL image, or an array [height, width] or
    [height, width, 1 | 3 | 4], uint8 in 0..255 or float in 0..1 (a CPU tensor is one too); or a
    callable without arguments that returns one of these, called here. Raises MediaError for what is
    outside ``limits``, in another format, missing or damaged, and whatever of minireranker's own
    errors a callable raises.
    """
    if callable(source):
        source = _made(source)
    label = _label(source)
    if isinstance(source, Image.Image):
        check_size(*source.size, limits, label)
        return _canonical(source, label)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), limits, label)
    if isinstance(source, str | os.PathLike):
        with open_file(source, limits.max_image_bytes, label) as file, decoding(label, "file"):
            data = file.read(limits.max_image_bytes + 1)
        return _decode(data, limits, label)
    if hasattr(source, "__array__"):
        return _canonical(_from_array(source, limits, label), label)
    raise MediaError(
        f"{label} is no image: pass a path, bytes, a PIL image, or an array [height, width, 3]"
    )


def _made(source: Callable[[], Picture]) -> Picture:
    """What a callable returns. Of an error that is not ours only the type is told."""
    try:
        return source()
    except (MinirerankerError, MemoryError):
        raise
    except Exception as error:
        raise MediaError(
            f"a callable given as an image raised {type(error).__name__}: "
            "let it return a picture, or raise an InputError that says why not"
        ) from error


def _decode(data: bytes, limits: Limits, label: str) -> Image.Image:
    check_bytes(len(data), limits.max_image_bytes, label)
    with _open(data, limits, label) as image:
        check_size(*image.size, limits, label)
        return _canonical(image, label)


def _open(data: bytes, limits: Limits, label: str) -> Image.Image:
    """The header only. Pillow's size warning is muted: ``limits`` decide, whatever the filters."""
    try:
        # catch_warnings swaps state of the whole process, so one thread at a time.
        with _header_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        most = min(limits.max_source_pixels, 2 * (Image.MAX_IMAGE_PIXELS or 0))
        raise MediaError(f"{label} has over {most} pixels, Pillow's limit; reduce it") from error
    except Exception as error:
        known = [name for name in FORMATS if _begins_like(name, data[:16])]
        if known or not isinstance(error, UnidentifiedImageError):
            kind = known[0] if known else "image"
            raise MediaError(f"{label} is a damaged or truncated {kind}: fetch it again") from error
        accepted = ", ".join(FORMATS)
        raise MediaError(f"{label} is no image in a known format: pass {accepted}") from error


def _begins_like(format_name: str, prefix: bytes) -> bool:
    # Pillow knows the rarer formats only once it has been asked for them.
    Image.init()
    accepts = Image.OPEN[format_name][1]
    return accepts is not None and accepts(prefix) is True


def _canonical(image: Image.Image, label: str) -> Image.Image:
    """Upright 8-bit RGB, a copy."""
    if image.mode in _NO_WHITE:
        what = _NO_WHITE[image.mode]
        raise MediaError(f"{label} has {what} pixels: scale to 0..1 and pass a float array")
    with decoding(label, image.format or "image"):
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
    """What a message calls the source."""
    if isinstance(source, str | os.PathLike):
        return f"image {shown(source)}"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"image of {len(source)} bytes"
    if isinstance(source, Image.Image):
        return f"PIL image in mode {source.mode}"
    if hasattr(source, "shape"):
        return f"array {list(source.shape)}"
    return type(source).__name__
