"""Stamps of files: what tells, without opening them, that a document's files have not changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .content import Content

_TICK_NS = 50_000_000
"""A file changed twice within a tick of the file system's clock has one time for two contents."""

_COARSE_TICK_NS = 2_100_000_000
"""Where times are whole seconds (FAT: two)."""

NOT_NUMBERS = (TypeError, ValueError, OverflowError, RuntimeError)
"""What NumPy raises for importances that are none; the last is a torch tensor's."""


def stamp_of(content: Content) -> str | None:
    """Hex SHA-256 over paths, sizes, times and inodes of the files, texts and importances.

    None where it cannot be trusted: no files, pixels in memory, a file that is gone or was changed
    a moment ago. To be taken before the files are read. A file whose content changes while size,
    modification time, change time and inode stay the same is taken for unchanged.
    """
    now = time.time_ns()
    try:
        files = [_file_stamp(source, now) for source in sources_of(content)]
        worth = [_array_digest(item) for item in content.importances]
    except (OSError, *NOT_NUMBERS):
        return None
    if not files:
        return None
    shape = [[_count(video) for video in content.videos], len(content.images)]
    parts = json.dumps([files, shape, worth, list(content.texts)])
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def is_file(source: Any) -> bool:
    """Whether a source is a path: not bytes, pixels, a URL, or a function."""
    if isinstance(source, str):
        return "://" not in source and not source.startswith("data:")
    return isinstance(source, os.PathLike)


def sources_of(content: Content) -> Iterator[Any]:
    """Everything pixels come from: each video or each of its frames, then the images."""
    for video in content.videos:
        yield from video if isinstance(video, list | tuple) else (video,)
    yield from content.images


def _count(video: Any) -> int:
    """Frames of a list of frames; 0 for one file."""
    return len(video) if isinstance(video, list | tuple) else 0


def _file_stamp(source: Any, now: int) -> Sequence[str | int]:
    """Raises ValueError for what is no file, or one that may be changing."""
    path, detail = source, ""
    if not is_file(source):
        path, detail = getattr(source, "made_from", (None, ""))
    if path is None:
        raise ValueError("pixels without a file")
    found = os.stat(path)
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    tick = _COARSE_TICK_NS if found.st_mtime_ns % 1_000_000_000 == 0 else _TICK_NS
    if now - changed < tick:
        raise ValueError("changed a moment ago")
    name = os.fsdecode(os.path.abspath(path))
    times = found.st_mtime_ns, found.st_ctime_ns
    return name, str(detail), found.st_size, *times, found.st_ino, found.st_dev


def _array_digest(importance: Any) -> str:
    if importance is None:
        return ""
    array = np.ascontiguousarray(np.asarray(importance, np.float64))
    return hashlib.sha256(array.tobytes()).hexdigest()
