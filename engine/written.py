"""Contents of texts and paths as JSON: what a later process needs to read them again."""

from __future__ import annotations

import base64
import os
from typing import Any

import numpy as np

from .content import Content
from .stamps import NOT_NUMBERS, is_file, sources_of


def content_to_json(content: Content) -> dict[str, Any] | None:
    """Texts, absolute paths and importances; None where a source is not a path."""
    if not all(map(is_file, sources_of(content))):
        return None
    return {
        "texts": list(content.texts),
        "images": [_path(image) for image in content.images],
        "videos": [
            [_path(frame) for frame in video] if isinstance(video, list | tuple) else _path(video)
            for video in content.videos
        ],
        "importances": [_numbers(item) for item in content.importances],
    }


def content_from_json(fields: dict[str, Any]) -> Content:
    """The content that ``content_to_json`` wrote."""
    videos = tuple(tuple(v) if isinstance(v, list) else v for v in fields["videos"])
    worth = tuple(
        None if item is None else np.frombuffer(base64.b64decode(item), "<f8")
        for item in fields["importances"]
    )
    return Content(tuple(fields["texts"]), tuple(fields["images"]), videos, worth)


def _path(source: Any) -> str:
    return os.path.abspath(os.fsdecode(os.fspath(source)))


def _numbers(importance: Any) -> str | None:
    if importance is None:
        return None
    try:
        array = np.ascontiguousarray(np.asarray(importance, "<f8"))
    except NOT_NUMBERS:  # it was read all the same: the profile keeps every token
        return None
    return base64.b64encode(array.tobytes()).decode()
