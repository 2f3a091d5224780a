"""What is refused before a decoder sees it, and what a decoder's failure is called after.

Every message begins with a label of the source ("image 'a.png'", "video of 300 bytes").
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from minireranker.configs import Limits
from minireranker.errors import MediaError, MinirerankerError

__all__ = ["check_bytes", "check_size", "decoding", "open_file", "shown"]


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


def shown(path: str | os.PathLike[str]) -> str:
    """A path for a message, quoted, and cut: it may be data passed by mistake."""
    text = os.fsdecode(path)
    return repr(text if len(text) <= 100 else text[:100] + "...")


def check_size(width: int, height: int, limits: Limits, label: str) -> None:
    """Raise MediaError, beginning with ``label``, for a size outside ``limits``."""
    long, short = max(width, height), min(width, height)
    size = f"{label} is {width} x {height} px"
    if width * height > limits.max_source_pixels:
        most = limits.max_source_pixels
        raise MediaError(f"{size}: over {most} pixels (limits.max_source_pixels); reduce it first")
    if long > limits.max_aspect_ratio * max(short, 1):
        ratio = f"aspect ratio over {limits.max_aspect_ratio:g}"
        raise MediaError(f"{size}: {ratio} (limits.max_aspect_ratio); crop it")
    if short < limits.min_side:
        least = limits.min_side
        raise MediaError(f"{size}: a side under {least} px (limits.min_side); leave it out")


@contextmanager
def decoding(label: str, kind: str) -> Iterator[None]:
    """Any error inside means, to a caller, a damaged file: MediaError saying so.

    Hostile bytes may raise anything in a decoder, and its text may hold addresses and paths.
    """
    try:
        yield
    except (MinirerankerError, MemoryError):
        raise
    except Exception as error:
        raise MediaError(f"{label} is a damaged or truncated {kind}: fetch it again") from error
