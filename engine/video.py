"""Videos as callers have them, as a few RGB frames and their times; or refused, with the reason.

Which frames are taken follows the published code (``qwen_vl_utils.vision_process.smart_nframes``
for files, Qwen3-VL-Reranker for lists of frames).
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from minireranker.configs import Limits
from minireranker.errors import MediaError

from .content import VideoSource
from .guards import check_bytes, decoding, open_file, shown
from .media import load_image
from .pixels import TEMPORAL, resized, video_dims
from .video_file import VideoFile

__all__ = ["Frames", "load_video", "sampled_frames"]


@dataclass(frozen=True)
class Frames:
    """The frames taken from a video, already at the size the model sees them in."""

    images: list[Image.Image]
    times: list[float]
    """Seconds, one a frame."""
    source_size: tuple[int, int]
    """Width and height in pixels of the first frame before it was resized."""


def load_video(source: VideoSource, limits: Limits) -> Frames:
    """Sample, decode, turn upright and resize the frames of a video.

    ``source``: a path, encoded bytes, or a sequence of frames (each what ``load_image`` takes; or
    one array [frames, height, width, 3]). A file is sampled at ``limits.video_fps``; a list is
    taken whole up to ``limits.video_max_frames``, its frame i at ``i / limits.frame_list_fps``.
    Raises MediaError for what is outside ``limits``, in another container, missing or damaged, and
    MissingDependencyError where a file is given without PyAV.
    """
    if isinstance(source, str | os.PathLike):
        label = f"video {shown(source)}"
        with open_file(source, limits.max_video_bytes, label) as file:
            return _from_file(VideoFile(file, limits, label))
    if isinstance(source, bytes | bytearray | memoryview):
        label = f"video of {len(source)} bytes"
        check_bytes(len(source), limits.max_video_bytes, label)
        return _from_file(VideoFile(io.BytesIO(source), limits, label))
    if isinstance(source, Sequence) or getattr(source, "ndim", 0) == 4:
        return _from_frames(source, limits)
    kind = type(source).__name__
    raise MediaError(f"{kind} is no video: pass a path, bytes or a list of frames")


def sampled_frames(total: int, fps: float, limits: Limits) -> list[int]:
    """Numbers of the frames taken from a file of ``total`` frames at ``fps``, ascending.

    ``smart_nframes``: an even count for ``video_fps``, spread evenly from the first to the last.
    """
    least = math.ceil(limits.video_min_frames / TEMPORAL) * TEMPORAL
    most = limits.video_max_frames // TEMPORAL * TEMPORAL
    wanted = min(max(total / fps * limits.video_fps, least), most, total)
    count = max(1, int(wanted // TEMPORAL * TEMPORAL))
    return [int(number) for number in np.linspace(0, total - 1, count).round()]


@dataclass
class _Album:
    """Collects frames; all take the size the first one calls for, so few pixels are held."""

    count: int
    limits: Limits
    images: list[Image.Image] = field(default_factory=list)
    source_size: tuple[int, int] = (0, 0)

    def add(self, image: Image.Image) -> None:
        if not self.images:
            self.source_size = image.size
        width, height = self.source_size
        self.images.append(resized(image, *video_dims(height, width, self.count, self.limits)))

    def frames(self, times: Sequence[float]) -> Frames:
        return Frames(self.images, list(times), self.source_size)


def _from_frames(source: Sequence[Any], limits: Limits) -> Frames:
    total = len(source)
    if not total:
        raise MediaError("video without frames: pass at least one")
    taken = np.linspace(0, total - 1, min(total, limits.video_max_frames), dtype=int)
    album = _Album(len(taken), limits)
    for number in taken.tolist():
        try:
            album.add(load_image(source[number], limits))
        except MediaError as error:
            raise MediaError(f"frame {number} of a video: {error}") from error
    # The published list is made even before its frames are numbered: the copy has its own time.
    album.images.extend(album.images[-1:] * (-len(taken) % TEMPORAL))
    return album.frames([at / limits.frame_list_fps for at in range(len(album.images))])


def _from_file(file: VideoFile) -> Frames:
    with decoding(file.label, "video"):
        index = file.scan()
        taken = sampled_frames(index.count, index.fps, file.limits)
        album = _Album(len(taken), file.limits)
        if not file.by_time(index, taken, album.add):
            album = _Album(len(taken), file.limits)
            seen = file.by_count(taken, album.add)
            if seen <= taken[-1]:
                taken = sampled_frames(seen, index.fps, file.limits)
                album = _Album(len(taken), file.limits)
                file.by_count(taken, album.add)
        return album.frames([number / index.fps for number in taken])
