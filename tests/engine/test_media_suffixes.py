"""Every suffix that is taken for a picture or a video is of a kind that can be read."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from minireranker.configs import Limits
from minireranker.engine.content import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Document
from minireranker.engine.media import load_image
from minireranker.engine.video import load_video

WIDTH, HEIGHT = 176, 144
"""A size that H.263, and so 3GP, allows."""

WRITERS = {
    ".3gp": ("3gp", "h263"),
    ".asf": ("asf", "wmv2"),
    ".avi": ("avi", "mpeg4"),
    ".flv": ("flv", "flv1"),
    ".m4v": ("ipod", "mpeg4"),
    ".mkv": ("matroska", "mpeg4"),
    ".mov": ("mov", "mpeg4"),
    ".mp4": ("mp4", "mpeg4"),
    ".mpeg": ("mpeg", "mpeg1video"),
    ".mpg": ("mpeg", "mpeg2video"),
    ".ogv": ("ogg", "libvpx"),
    ".ts": ("mpegts", "mpeg2video"),
    ".webm": ("webm", "libvpx"),
    ".wmv": ("asf", "wmv2"),
}
"""FFmpeg's muxer and an encoder for it."""


def film(path: Path) -> Path:
    """Two seconds that begin black and end nearly white."""
    muxer, codec = WRITERS[path.suffix]
    with av.open(str(path), "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for shade in range(0, 250, 5):
            pixels = np.full((HEIGHT, WIDTH, 3), shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_a_video_of_every_suffix_is_read(suffix: str, tmp_path: Path) -> None:
    path = film(tmp_path / f"clip{suffix}")
    assert Document.of(path).video == path
    frames = load_video(path, Limits())
    assert frames.source_size == (WIDTH, HEIGHT)
    first, last = (np.asarray(frames.images[at]).mean() for at in (0, -1))
    assert first < 60
    assert last > 180


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_a_picture_of_every_suffix_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture{suffix}"
    Image.new("RGB", (40, 30), "white").save(path)
    assert Document.of(path).image == path
    assert Document(video=[path, path]).content.videos == ((path, path),)
    assert (np.asarray(load_image(path, Limits())) > 250).all()
