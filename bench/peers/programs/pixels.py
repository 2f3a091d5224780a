"""Files to patches, as Qwen3-VL-Reranker's published code and processor make them.

Sizes: both sides multiples of 32, 4 to 1800 visual tokens an image, 7 864 320 pixels a video (two
frames count as one), by ``qwen_vl_utils``' rules; Pillow's bicubic filter. Patches of 16 x 16 x 2
in the order that the vision tower merges them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .content import images_of

IMAGE_PIXELS = (4_096, 1_843_200)
FRAME_PIXELS = (131_072, 786_432)
VIDEO_PIXELS, VIDEO_FRAMES, FRAMES_A_SECOND = 7_864_320, 64, 2.0


@dataclass(eq=False)
class Visual:
    """One image or video as the vision tower takes it."""

    kind: str
    patches: Tensor
    """[t * h * w, 3 * 2 * 16 * 16], float32."""
    grid: tuple[int, int, int]
    """Temporal patches, rows, columns."""
    seconds: tuple[float, ...] = ()
    """When each temporal patch of a video is shown."""
    features: tuple[Tensor, ...] | None = None
    """What the tower made of it, once it ran: visual tokens, then the DeepStack maps."""

    @property
    def text(self) -> str:
        """Its placeholders in a prompt."""
        pads = self.grid[1] * self.grid[2] // 4
        frame = f"<|vision_start|>{f'<|{self.kind}_pad|>' * pads}<|vision_end|>"
        if self.kind == "image":
            return frame
        return "".join(f"<{second:.1f} seconds>{frame}" for second in self.seconds)


def read_visuals(
    content: dict[str, Any], mean: Sequence[float], std: Sequence[float]
) -> list[Visual]:
    """A side's video, then its images. Raises ValueError for a video without frames."""
    found = []
    if content.get("video"):
        frames, rate = read_video(content["video"])
        seconds = np.arange(len(frames)).reshape(-1, 2).mean(axis=1) / rate
        patches, grid = _patches(frames, mean, std)
        found.append(Visual("video", patches, grid, tuple(seconds.tolist())))
    for image in read_images(content):
        found.append(Visual("image", *_patches([image] * 2, mean, std)))
    return found


def read_images(content: dict[str, Any]) -> list[Image.Image]:
    """A side's images, RGB, at the size the model sees them in."""
    return [read_image(path) for path in images_of(content)]


def read_image(path: str) -> Image.Image:
    """One of them."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    height, width = fitted(picture.height, picture.width, *IMAGE_PIXELS)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def read_video(video: dict[str, Any]) -> tuple[list[Image.Image], float]:
    """An even number of frames at the size the model sees them in, and how many are a second.

    Raises ValueError for a video without frames.
    """
    paths = video.get("frames") or []
    if not paths:
        raise ValueError("a video without frames: this peer takes {'frames': [paths]}")
    taken = np.linspace(0, len(paths) - 1, min(len(paths), VIDEO_FRAMES), dtype=int)
    share = VIDEO_PIXELS / (len(taken) + len(taken) % 2) * 2
    most = max(min(FRAME_PIXELS[1], share), int(FRAME_PIXELS[0] * 1.05))
    frames: list[Image.Image] = []
    for at in taken:
        with Image.open(paths[at]) as image:
            picture = image.convert("RGB")
        if not frames:
            height, width = fitted(picture.height, picture.width, FRAME_PIXELS[0], most)
        frames.append(picture.resize((width, height), Image.Resampling.BICUBIC))
    return frames + frames[-1:] * (len(frames) % 2), video.get("fps") or FRAMES_A_SECOND


def fitted(height: int, width: int, least: int, most: float) -> tuple[int, int]:
    """The size that a picture is resized to: multiples of 32, its area within bounds."""
    sides = [max(32, round(side / 32) * 32) for side in (height, width)]
    if math.prod(sides) > most:
        scale = math.sqrt(height * width / most)
        sides = [max(32, math.floor(side / scale / 32) * 32) for side in (height, width)]
    elif math.prod(sides) < least:
        scale = math.sqrt(least / (height * width))
        sides = [math.ceil(side * scale / 32) * 32 for side in (height, width)]
    return sides[0], sides[1]


def _patches(
    frames: Sequence[Image.Image], mean: Sequence[float], std: Sequence[float]
) -> tuple[Tensor, tuple[int, int, int]]:
    pixels = torch.from_numpy(np.stack([np.asarray(frame) for frame in frames]))
    grid = (len(frames) // 2, frames[0].height // 16, frames[0].width // 16)
    shape = (grid[0], 2, grid[1] // 2, 2, 16, grid[2] // 2, 2, 16, 3)
    blocks = pixels.reshape(shape).permute(0, 2, 5, 3, 6, 8, 1, 4, 7)
    # [t, h/2, w/2, 2, 2, colour, frame of a patch, 16, 16]
    scale = (1 / (255 * torch.tensor(std))).reshape(3, 1, 1, 1)
    shift = (torch.tensor(mean) / torch.tensor(std)).reshape(3, 1, 1, 1)
    return (blocks * scale - shift).reshape(math.prod(grid), -1), grid
