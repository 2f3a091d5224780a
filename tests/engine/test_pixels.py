"""The published sizes, the published patch layout, and a digest that tells shapes apart."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)

from minireranker.configs import Limits
from minireranker.engine.pixels import (
    FACTOR,
    MERGE,
    PATCH,
    TEMPORAL,
    Visual,
    image_visual,
    resize_dims,
    video_dims,
    video_visual,
)
from minireranker.errors import MediaError

LIMITS = Limits()
MEAN, STD = (0.5, 0.4, 0.3), (0.5, 0.25, 0.2)
sides = st.integers(4, 20_000)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def dims(height: int, width: int, **changes: float) -> tuple[int, int]:
    limits = {"min_pixels": 4_096, "max_pixels": 1_843_200, "max_aspect_ratio": 200.0, **changes}
    return resize_dims(height, width, **limits)


def cut(visual: Visual) -> np.ndarray:
    """The layout of Qwen3VLVideoProcessor.patchify, patch by patch, uint8 [t*h*w, 3, 2, 16, 16]."""
    frames = visual.frames if visual.kind == "video" else np.repeat(visual.frames, TEMPORAL, 0)
    t, h, w = visual.grid
    rows = [
        frames[2 * at : 2 * at + 2, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16]
        for at in range(t)
        for block_y in range(0, h, MERGE)
        for block_x in range(0, w, MERGE)
        for y in (block_y, block_y + 1)
        for x in (block_x, block_x + 1)
    ]
    return np.stack(rows).transpose(0, 4, 1, 2, 3)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, (480, 640)),
        (1, 1, (64, 64)),
        (16, 640, (32, 640)),  # 16 / 32 rounds to even, to 0, and is then lifted to one block
        (48, 80, (64, 64)),  # 1.5 and 2.5 both round to 2
        (3000, 4000, (1152, 1536)),
        (4, 800, (32, 800)),
    ],
)
def test_sizes_by_hand(height: int, width: int, expected: tuple[int, int]) -> None:
    assert dims(height, width) == expected


@given(height=st.integers(17, 20_000), width=st.integers(17, 20_000))
def test_sizes_are_those_of_transformers(height: int, width: int) -> None:
    """Its copy of the rule lacks only the lower bound of one block, hence sides from 17."""
    if max(height, width) <= 200 * min(height, width):
        expected = smart_resize(height, width, FACTOR, LIMITS.min_pixels, LIMITS.max_pixels)
        assert dims(height, width) == expected


@given(height=sides, width=sides)
def test_sizes_are_on_the_grid_and_within_limits(height: int, width: int) -> None:
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(MediaError, match="aspect ratio over 200"):
            dims(height, width)
        return
    resized = dims(height, width)
    assert resized[0] % FACTOR == resized[1] % FACTOR == 0
    assert LIMITS.min_pixels <= math.prod(resized) <= LIMITS.max_pixels


def test_a_thin_picture_keeps_one_block_of_height() -> None:
    assert dims(100, 20_000, max_pixels=65_536) == (32, 3616)


@given(blocks=st.tuples(st.integers(1, 3), st.integers(1, 3)), patches=st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_patches_hold_every_pixel_once(blocks: tuple[int, int], patches: int) -> None:
    """Undoing the normalisation and the layout gives the frames back."""
    height, width = (FACTOR * block for block in blocks)
    rng = np.random.default_rng(patches)
    shape = (patches * TEMPORAL or 1, height, width, 3)
    frames = rng.integers(0, 256, shape, dtype=np.uint8)
    kind = "video" if patches else "image"
    visual = Visual(kind, frames, tuple(map(float, range(patches))), (width, height))
    rows = visual.patches(MEAN, STD).reshape(-1, 3, TEMPORAL, PATCH, PATCH)
    mean, std = (np.reshape(values, (3, 1, 1, 1)) for values in (MEAN, STD))
    assert rows.dtype == np.float32
    assert np.array_equal(np.rint((rows * std + mean) * 255), cut(visual))
    assert visual.tokens * MERGE**2 == len(rows) == math.prod(visual.grid)
    assert visual.frame_grid == (height // PATCH, width // PATCH)


def test_image_patches_are_those_of_transformers() -> None:
    visual = image_visual(picture(333, 190), LIMITS)
    processor = Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        temporal_patch_size=TEMPORAL,
        merge_size=MERGE,
        image_mean=list(MEAN),
        image_std=list(STD),
        do_resize=False,
    )
    expected = processor(Image.fromarray(visual.frames[0]), return_tensors="np")
    assert [visual.grid] == [tuple(row) for row in expected["image_grid_thw"].tolist()]
    assert np.abs(visual.patches(MEAN, STD) - expected["pixel_values"]).max() <= 1e-6


def test_video_patches_against_a_transcription() -> None:
    images = [picture(96, 70, seed) for seed in range(4)]
    visual = video_visual(images, [0.0, 1.0, 2.0, 3.0], LIMITS)
    channels = np.arange(3).reshape(1, 3, 1, 1, 1)
    expected = (cut(visual) / 255 - np.take(MEAN, channels)) / np.take(STD, channels)
    rows = visual.patches(MEAN, STD)
    assert np.abs(rows - expected.reshape(len(rows), -1)).max() <= 1e-6


def test_patches_need_little_beyond_their_own_memory() -> None:
    visual = image_visual(picture(1024, 1024), LIMITS)
    tracemalloc.start()
    rows = visual.patches(MEAN, STD)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows.nbytes + 2 * visual.frames.nbytes


def test_an_image_is_resized_by_bicubic_pillow() -> None:
    image = picture(100, 50)
    visual = image_visual(image, LIMITS)
    expected = np.asarray(image.resize((96, 64), Image.Resampling.BICUBIC))
    assert np.array_equal(visual.frames[0], expected)
    assert (visual.kind, visual.timestamps, visual.source_size) == ("image", (), (100, 50))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (4, (768, 1024)),  # frame_max_pixels: sides by 1.5625
        (64, (416, 544)),  # video_total_pixels / 64 * 2 = 245 760: 429.3 x 572.4
        (63, (416, 544)),  # counted as 64
        (512, (320, 416)),  # 1.05 * frame_min_pixels = 137 625: 321.3 x 428.4
    ],
)
def test_frames_share_the_pixels_of_a_video(count: int, expected: tuple[int, int]) -> None:
    assert video_dims(1200, 1600, count, LIMITS) == expected


def test_an_odd_frame_is_repeated_with_its_time() -> None:
    images = [picture(400, 400, seed) for seed in range(3)]
    visual = video_visual(images, [0.0, 0.5, 1.5], LIMITS)
    assert visual.frames.shape[0] == 4
    assert visual.grid[0] == 2
    assert np.array_equal(visual.frames[2], visual.frames[3])
    assert not np.array_equal(visual.frames[1], visual.frames[2])
    assert visual.timestamps == (0.25, 1.5)


def test_frames_of_other_sizes_follow_the_first() -> None:
    visual = video_visual([picture(640, 480), picture(100, 300)], [0.0, 1.0], LIMITS)
    assert visual.frames.shape == (2, 480, 640, 3)
    assert visual.source_size == (640, 480)


def test_frames_resized_before_are_left_alone() -> None:
    """A 32-pixel-high strip would come out another size if its own size were asked again."""
    limits = Limits(frame_min_pixels=4_096, frame_max_pixels=65_536, video_total_pixels=65_536)
    height, width = video_dims(100, 20_000, 2, limits)
    small = [picture(width, height, seed) for seed in range(2)]
    visual = video_visual(small, [0.0, 1.0], limits, source_size=(20_000, 100))
    assert np.array_equal(visual.frames, np.stack([np.asarray(image) for image in small]))
    assert visual.source_size == (20_000, 100)


def test_a_video_without_frames_is_refused() -> None:
    with pytest.raises(MediaError, match="video without frames"):
        video_visual([], [], LIMITS)


def test_equal_pixels_have_equal_digests() -> None:
    first, second = (image_visual(picture(64, 64), LIMITS).digest() for _ in range(2))
    assert first == second
    assert len(first) == 32


def test_the_digest_covers_everything_a_model_sees() -> None:
    """One array of zeros in two shapes must not share a cache entry: CVE-2025-46722."""
    zeros = np.zeros((2, 64, 96, 3), np.uint8)
    ones = zeros.copy()
    ones[-1, -1, -1, -1] = 1
    size = (96, 64)
    visuals = [
        Visual("video", zeros, (0.5,), size),
        Visual("video", zeros.reshape(2, 96, 64, 3), (0.5,), size),
        Visual("video", zeros.reshape(4, 32, 96, 3), (0.5, 0.5), size),
        Visual("video", zeros, (0.25,), size),
        Visual("video", ones, (0.5,), size),
        Visual("image", zeros[:1], (), size),
    ]
    assert len({visual.digest() for visual in visuals}) == len(visuals)


def test_frames_off_the_grid_are_an_invariant() -> None:
    with pytest.raises(AssertionError, match="off the patch grid"):
        Visual("image", np.zeros((1, 33, 32, 3), np.uint8), (), (32, 33))
