"""Pixels as the vision tower takes them: the published resize rule, one record, one patch layout.

Everything that identifies a visual document is here: two inputs with equal ``Visual.digest()`` give
equal patches, whatever file, frame list or array they came from. Sizes follow the published Qwen
code (``qwen_vl_utils.vision_process``: ``smart_resize``, ``fetch_image``, ``fetch_video``), the
patch layout is that of ``transformers``' Qwen2-VL image and Qwen3-VL video processors.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from minireranker.configs import Limits
from minireranker.errors import MediaError

__all__ = [
    "FACTOR",
    "MERGE",
    "PATCH",
    "TEMPORAL",
    "Visual",
    "image_visual",
    "resize_dims",
    "resized",
    "video_dims",
    "video_visual",
]

PATCH = 16
"""Side of a patch in pixels."""
MERGE = 2
"""Patches merged into one visual token, along each side."""
TEMPORAL = 2
"""Frames in a temporal patch."""
FACTOR = PATCH * MERGE
"""Both sides of a resized frame are multiples of this."""

_ROWS = 64
"""Patches normalised at a time: a float32 block of them stays in the second-level cache."""


@dataclass(frozen=True, eq=False)
class Visual:
    """Canonical pixels of one image or video, resized to the model's grid."""

    kind: Literal["image", "video"]
    frames: NDArray[np.uint8]
    """[T, H, W, 3], RGB; H and W are multiples of 32. An image: T = 1; a video: T is even."""
    timestamps: tuple[float, ...]
    """Seconds, one a temporal patch; empty for an image."""
    source_size: tuple[int, int]
    """Width and height in pixels before resizing."""

    def __post_init__(self) -> None:
        """Hold the shapes above."""
        count, height, width, channels = self.frames.shape
        patches = count // TEMPORAL if self.kind == "video" else 0
        assert self.frames.dtype == np.uint8, f"frames are uint8, not {self.frames.dtype}"
        assert channels == 3, f"frames are RGB, not of {channels} channels"
        assert height % FACTOR == width % FACTOR == 0, f"{height} x {width} is off the patch grid"
        assert count == (patches * TEMPORAL or 1), f"{count} frames in a(n) {self.kind}"
        assert len(self.timestamps) == patches, "one timestamp a temporal patch of a video"

    @property
    def frame_grid(self) -> tuple[int, int]:
        """Rows and columns of patches in a frame."""
        return self.frames.shape[1] // PATCH, self.frames.shape[2] // PATCH

    @property
    def grid(self) -> tuple[int, int, int]:
        """Temporal patches, rows and columns of patches: the model's ``grid_thw``."""
        return (max(len(self.timestamps), 1), *self.frame_grid)

    @property
    def token_grid(self) -> tuple[int, int, int]:
        """Frames, rows and columns of visual tokens after merging."""
        frames, height, width = self.grid
        return frames, height // MERGE, width // MERGE

    @property
    def tokens(self) -> int:
        """Visual tokens after merging."""
        return math.prod(self.grid) // MERGE**2

    def patches(self, mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
        """Normalised patches, float32 [t*h*w, 3*2*16*16]: ``(pixel / 255 - mean) / std``.

        Rows run over temporal patches, then over 2 x 2 merge blocks, then inside a block; columns
        over channel, frame, row, column. An image's single frame fills both frames of its patch.
        ``mean`` and ``std`` have one value a channel.
        """
        deviation = np.asarray(std, np.float64)
        scale = (1.0 / (255.0 * deviation)).astype(np.float32).reshape(3, 1, 1)
        shift = (-np.asarray(mean, np.float64) / deviation).astype(np.float32).reshape(3, 1, 1)
        blocks = self._blocks().reshape(math.prod(self.grid), 3, -1, PATCH * PATCH)
        out = np.empty((len(blocks), 3, TEMPORAL, PATCH * PATCH), np.float32)
        for start in range(0, len(blocks), _ROWS):
            rows = slice(start, start + _ROWS)
            values = blocks[rows] * scale
            values += shift
            out[rows] = values
        return out.reshape(len(blocks), -1)

    def _blocks(self) -> NDArray[np.uint8]:
        """Pixels in patch order, uint8 [t, h/2, w/2, 2, 2, 3, frames of a patch, 16, 16]."""
        t, h, w = self.grid
        shape = (t, -1, h // MERGE, MERGE, PATCH, w // MERGE, MERGE, PATCH, 3)
        return np.ascontiguousarray(self.frames.reshape(shape).transpose(0, 2, 5, 3, 6, 8, 1, 4, 7))

    def digest(self) -> bytes:
        """SHA-256 of kind, dtype, shape, pixels and timestamps.

        The shape is part of it: bytes alone are the same for a frame of 2 x 8 and one of 4 x 4, and
        a cache keyed by them hands out the wrong entry (CVE-2025-46722).
        """
        pixels = np.ascontiguousarray(self.frames)
        digest = hashlib.sha256(f"{self.kind}|{pixels.dtype.str}|{pixels.shape}|".encode())
        digest.update(pixels.data)
        digest.update(np.asarray(self.timestamps, "<f8").tobytes())
        return digest.digest()


def resize_dims(
    height: int, width: int, *, min_pixels: int, max_pixels: float, max_aspect_ratio: float
) -> tuple[int, int]:
    """Height and width a picture is resized to: ``qwen_vl_utils.smart_resize``.

    Both are multiples of 32 and keep the aspect ratio as nearly as that allows; the area is within
    [min_pixels, max_pixels] unless the longer side at a width of 32 is already over it.
    Raises MediaError for an aspect ratio over ``max_aspect_ratio``.
    """
    if max(height, width) > max_aspect_ratio * min(height, width):
        raise MediaError(
            f"{width} x {height} px has an aspect ratio over {max_aspect_ratio:g} "
            "(limits.max_aspect_ratio): crop it"
        )
    sides = [max(FACTOR, round(side / FACTOR) * FACTOR) for side in (height, width)]
    if math.prod(sides) > max_pixels:
        beta = math.sqrt(height * width / max_pixels)
        sides = [max(FACTOR, math.floor(side / beta / FACTOR) * FACTOR) for side in (height, width)]
    elif math.prod(sides) < min_pixels:
        beta = math.sqrt(min_pixels / (height * width))
        sides = [math.ceil(side * beta / FACTOR) * FACTOR for side in (height, width)]
    return sides[0], sides[1]


def image_visual(image: Image.Image, limits: Limits) -> Visual:
    """An RGB image at the model's grid. Raises MediaError for its aspect ratio."""
    height, width = resize_dims(
        image.height,
        image.width,
        min_pixels=limits.min_pixels,
        max_pixels=limits.max_pixels,
        max_aspect_ratio=limits.max_aspect_ratio,
    )
    return Visual("image", _stack([image], 1, height, width), (), image.size)


def video_dims(height: int, width: int, count: int, limits: Limits) -> tuple[int, int]:
    """Height and width the frames of a video of ``count`` frames are resized to.

    The rule of ``qwen_vl_utils.fetch_video``: the video's pixels are shared evenly, and two frames
    cost as much as one. Raises MediaError for the aspect ratio.
    """
    share = limits.video_total_pixels / _even(count) * TEMPORAL
    return resize_dims(
        height,
        width,
        min_pixels=limits.frame_min_pixels,
        max_pixels=max(min(limits.frame_max_pixels, share), int(limits.frame_min_pixels * 1.05)),
        max_aspect_ratio=limits.max_aspect_ratio,
    )


def video_visual(
    frames: Sequence[Image.Image],
    times: Sequence[float],
    limits: Limits,
    source_size: tuple[int, int] | None = None,
) -> Visual:
    """RGB frames and the second each is shown at, at the model's grid.

    All take the size that the first one's calls for; ``source_size`` (width, height) says what that
    was, if it was resized already. The last frame and its time are repeated to an even count. A
    temporal patch has the mean time of its two frames, as ``Qwen3VLProcessor`` writes it into the
    prompt. Raises MediaError for a video without frames, and for its aspect ratio.
    """
    if not frames:
        raise MediaError("video without frames: pass at least one")
    assert len(frames) == len(times), f"{len(frames)} frames with {len(times)} times"
    source_size = source_size or frames[0].size
    height, width = video_dims(source_size[1], source_size[0], len(frames), limits)
    count = _even(len(frames))
    padded = [*times, *[times[-1]] * (count - len(times))]
    stamps = np.asarray(padded, np.float64).reshape(-1, TEMPORAL).mean(axis=1)
    pixels = _stack(frames, count, height, width)
    return Visual("video", pixels, tuple(stamps.tolist()), source_size)


def resized(frame: Image.Image, height: int, width: int) -> Image.Image:
    """A frame at a size, by Pillow's bicubic filter on 8 bits, as ``qwen_vl_utils.fetch_image``."""
    return frame.resize((width, height), Image.Resampling.BICUBIC)


def _even(count: int) -> int:
    """The next multiple of a temporal patch."""
    return -(-count // TEMPORAL) * TEMPORAL


def _stack(frames: Sequence[Image.Image], count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Resized frames, the last one repeated, uint8 [count, height, width, 3]."""
    pixels = np.empty((count, height, width, 3), np.uint8)
    for at, frame in enumerate(frames):
        assert frame.mode == "RGB", f"a frame in mode {frame.mode}, not RGB"
        pixels[at] = np.asarray(resized(frame, height, width))
    pixels[len(frames) :] = pixels[len(frames) - 1]
    pixels.flags.writeable = False
    return pixels
