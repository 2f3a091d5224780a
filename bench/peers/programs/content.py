"""A query or document as it comes over the wire: words, and files by path."""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import Any


def is_visual(content: dict[str, Any]) -> bool:
    """Whether a side has an image or a video."""
    return bool(content.get("image") or content.get("video"))


def query_goes_first(query: dict[str, Any], document: dict[str, Any]) -> bool:
    """In the reusable-first order: only a visual query before a document of words."""
    return is_visual(query) and not is_visual(document)


def images_of(content: dict[str, Any]) -> list[str]:
    """Paths of a side's images."""
    found = content.get("image") or []
    return [found] if isinstance(found, str) else list(found)


def frames_of(content: dict[str, Any]) -> list[str]:
    """Paths of the frames of a side's video."""
    return list((content.get("video") or {}).get("frames") or [])


def content_key(content: dict[str, Any]) -> Hashable:
    """Names a side's content: its words, and its files as ``file_key`` does."""
    images, frames = (tuple(map(file_key, of(content))) for of in (images_of, frames_of))
    return content.get("text"), images, frames, (content.get("video") or {}).get("fps")


def file_key(path: str) -> Hashable:
    """Names a file's content: path, size and time of change."""
    found = os.stat(path)
    return path, found.st_size, found.st_mtime_ns
