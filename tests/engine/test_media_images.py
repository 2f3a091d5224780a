"""Any way to pass a picture gives the same pixels; hostile files are refused and say why."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from minireranker import Document, Reranker
from minireranker.configs import Limits
from minireranker.engine.media import FORMATS, load_image
from minireranker.errors import InputError, MediaError, MissingDependencyError

LIMITS = Limits()
ORIENTATION = 0x0112


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Smooth, so that every format can hold it nearly."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    bands = np.stack([x * 6, y * 8, (x + y) * 3], axis=-1).astype(np.uint8)
    return Image.fromarray(bands).convert(mode)


def encoded(image: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def pixels(source: Any, limits: Limits = LIMITS) -> np.ndarray:
    image = load_image(source, limits)
    assert image.mode == "RGB"
    return np.asarray(image)


def refusal(source: Any, **limits: Any) -> str:
    with pytest.raises(MediaError) as caught:
        load_image(source, Limits(**limits))
    assert " 0x" not in str(caught.value), "an address from inside a decoder"
    return str(caught.value)


def png_header(width: int, height: int) -> bytes:
    """A PNG of any claimed size that ends after its header."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b"")]
    body = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize("format_name", FORMATS)
def test_path_bytes_and_pil_give_the_same_pixels(format_name: str, tmp_path: Path) -> None:
    data = encoded(picture(), format_name)
    path = tmp_path / "picture.bin"
    path.write_bytes(data)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    for source in (path, str(path), data, bytearray(data), Image.open(io.BytesIO(data))):
        assert np.array_equal(pixels(source), expected)


def test_arrays_and_tensors_give_the_same_pixels() -> None:
    array = np.asarray(picture())
    for source in (array, array / 255, (array / 255).astype(np.float16)):
        assert np.array_equal(pixels(source), array)
        assert np.array_equal(pixels(torch.from_numpy(source.copy())), array)


def test_grey_arrays_with_and_without_a_channel() -> None:
    grey = np.asarray(picture("L"))
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    assert np.array_equal(pixels(grey), expected)
    assert np.array_equal(pixels(grey[:, :, None]), expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_opaque_modes_are_converted(mode: str) -> None:
    image = picture(mode)
    assert np.array_equal(pixels(image), np.asarray(image.convert("RGB")))


def half_transparent() -> Image.Image:
    """Left half clear, right half red."""
    image = Image.new("RGBA", (20, 10), (255, 0, 0, 255))
    image.paste((0, 0, 255, 0), (0, 0, 10, 10))
    return image


def clear_palette() -> bytes:
    image = Image.new("P", (20, 10), 1)
    image.putpalette([0, 0, 255, 255, 0, 0])
    image.paste(0, (0, 0, 10, 10))
    return encoded(image, "GIF", transparency=0)


def clear_colour() -> bytes:
    image = Image.new("RGB", (20, 10), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 10, 10))
    return encoded(image, "PNG", transparency=(0, 0, 255))


@pytest.mark.parametrize(
    "source",
    [
        half_transparent(),
        np.asarray(half_transparent()),
        encoded(half_transparent()),
        encoded(half_transparent(), "WEBP", lossless=True),
        half_transparent().convert("RGBa"),
        clear_palette(),
        clear_colour(),
    ],
    ids=["pil", "array", "png", "webp", "premultiplied", "gif palette", "png colour key"],
)
def test_transparency_is_put_on_white(source: Any) -> None:
    seen = pixels(source)
    assert (seen[:, :10] == 255).all()
    assert (seen[:, 10:] == [255, 0, 0]).all()


def test_grey_with_alpha_is_put_on_white() -> None:
    image = Image.new("LA", (10, 10), (0, 51))
    assert (pixels(image) == 204).all()


@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(format_name: str) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    data = encoded(Image.fromarray(levels * 257), format_name)
    assert np.array_equal(pixels(data)[:, :, 0], levels)


@pytest.mark.parametrize(("mode", "word"), [("F", "floating-point"), ("I", "32-bit integer")])
def test_modes_without_a_white_are_refused(mode: str, word: str) -> None:
    message = refusal(encoded(Image.new(mode, (16, 16)), "TIFF"))
    assert word in message
    assert "float array" in message


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(format_name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.new("RGB", (40, 24), "white")
    image.paste((0, 0, 0), (0, 0, 20, 12))
    data = encoded(image, format_name, exif=exif)
    corner = {
        1: (0, 0),
        2: (0, 1),
        3: (1, 1),
        4: (1, 0),
        5: (0, 0),
        6: (0, 1),
        7: (1, 1),
        8: (1, 0),
    }
    for source in (data, Image.open(io.BytesIO(data))):
        seen = pixels(source)[:, :, 0]
        assert seen.shape == ((24, 40) if orientation < 5 else (40, 24))
        half = seen.shape[0] // 2, seen.shape[1] // 2
        quarters = seen.reshape(2, half[0], 2, half[1]).mean(axis=(1, 3))
        dark = np.unravel_index(quarters.argmin(), (2, 2))
        assert tuple(map(int, dark)) == corner[orientation]


def test_unreadable_exif_leaves_the_picture_as_stored(caplog: pytest.LogCaptureFixture) -> None:
    data = encoded(picture(), "PNG", exif=b"Exif\0\0no TIFF header")
    assert np.array_equal(pixels(data), np.asarray(picture()))
    assert "unreadable EXIF" in caplog.text


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_of_several_frames_is_taken(format_name: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if format_name == "WEBP" else {}
    data = encoded(frames[0], format_name, save_all=True, append_images=frames[1:], **options)
    assert (pixels(data) == [255, 0, 0]).all()


def test_the_callers_image_is_not_changed() -> None:
    image = picture()
    load_image(image, LIMITS).paste("red", (0, 0, 40, 30))
    assert np.array_equal(np.asarray(image), np.asarray(picture()))


@pytest.mark.parametrize("format_name", FORMATS)
def test_truncated_files_name_their_format(format_name: str) -> None:
    data = encoded(picture(size=(200, 200)), format_name)
    message = refusal(data[: len(data) // 2])
    assert f"damaged or truncated {format_name}" in message


def test_a_signature_alone_is_a_truncated_file() -> None:
    assert "damaged or truncated PNG" in refusal(encoded(picture())[:12])


def test_the_first_image_of_a_process_may_be_damaged() -> None:
    """Pillow loads its rarer formats late; here some other test has had it done already."""
    code = (
        "from minireranker.configs import Limits\n"
        "from minireranker.engine.media import load_image\n"
        "from minireranker.errors import MediaError\n"
        "try:\n"
        "    load_image(bytes.fromhex('89504e470d0a1a0a0000000d'), Limits())\n"
        "except MediaError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert "damaged or truncated PNG" in done.stdout


@pytest.mark.parametrize("format_name", FORMATS)
def test_scrambled_files_give_pixels_or_a_media_error(format_name: str) -> None:
    """Bytes flipped anywhere never raise anything else."""
    data = encoded(picture(), format_name)
    rng = np.random.default_rng(7)
    refused = 0
    for _ in range(40):
        hostile = bytearray(data)
        for at in rng.integers(0, len(data), 4):
            hostile[at] ^= 1 << int(rng.integers(8))
        try:
            load_image(bytes(hostile), LIMITS)
        except MediaError:
            refused += 1
    assert refused > 0 or format_name == "BMP"


def test_what_is_no_image_is_refused() -> None:
    assert "no image in a known format" in refusal(b"<html>not here</html>")
    assert "is empty" in refusal(b"")
    assert "NoneType is no image: pass a path" in refusal(None)


def test_formats_outside_the_list_are_refused() -> None:
    """PPM and ICO decode well; a short list of decoders is a small target."""
    for format_name in ("PPM", "ICO"):
        assert "no image in a known format" in refusal(encoded(picture(), format_name))


def test_paths_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent.png")
    assert "is a folder" in refusal(tmp_path)
    assert "not a valid path" in refusal("a\0b.png")
    assert "URLs are not fetched" in refusal("http://example.org/a.png")
    assert "URLs are not fetched" in refusal("data:image/png;base64,iVBORw0KGgo")
    long = refusal("A" * 10_000)
    assert "cannot be opened" in long
    assert len(long) < 250


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a regular file" in refusal(tmp_path / "pipe.png")


def test_bytes_are_capped_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert "at most 1000 are read" in refusal(path, max_image_bytes=1000)
    assert "at most 1000 are read" in refusal(bytes(1001), max_image_bytes=1000)


def test_pixels_are_capped_from_the_header() -> None:
    message = refusal(png_header(2000, 1000), max_source_pixels=1_999_999)
    assert "2000 x 1000 px: over 1999999 pixels" in message
    array = np.zeros((50, 50), np.uint8)
    for source in (array, Image.fromarray(array)):
        assert "over 2499 pixels" in refusal(source, max_source_pixels=2499)


def test_bombs_are_refused_whatever_the_warning_filters() -> None:
    """Pillow warns from half of its limit on; ours is the one that counts."""
    assert "over 178956970 pixels" in refusal(png_header(60_000, 60_000))
    for action in ("error", "ignore", "always"):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter(action)
            assert "damaged or truncated PNG" in refusal(png_header(10_000, 9_000))
        assert seen == []


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((1, 1), "1 x 1 px: a side under 4 px"),
        ((3, 300), "3 x 300 px: a side under 4 px"),
        ((1, 10_000), "1 x 10000 px: aspect ratio over 200"),
        ((1005, 5), "1005 x 5 px: aspect ratio over 200"),
    ],
)
def test_small_and_thin_pictures_are_refused(size: tuple[int, int], reason: str) -> None:
    image = Image.new("RGB", size)
    for source in (image, encoded(image), np.asarray(image)):
        assert reason in refusal(source)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((8, 8), np.uint16), "dtype uint16: pass uint8"),
        (np.zeros((8, 8), bool), "dtype bool: pass uint8"),
        (np.zeros((3, 8, 8), np.uint8), "shape [3, 8, 8]: pass [height, width]"),
        (np.zeros((8, 8, 2), np.uint8), "shape [8, 8, 2]"),
        (np.zeros(8, np.uint8), "shape [8]"),
        (np.zeros((0, 8, 3), np.uint8), "a side under 4 px"),
        (np.full((8, 8), 255.0), "floats outside 0..1"),
        (np.full((8, 8), np.nan), "floats outside 0..1 or NaN"),
        (np.full((8, 8), -0.1), "floats outside 0..1"),
        (np.full((8, 8), "x", dtype=object), "dtype object"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, reason: str) -> None:
    assert reason in refusal(array)


def test_a_tensor_with_a_gradient_says_how_to_pass_it() -> None:
    assert "detach()" in refusal(torch.zeros(8, 8, requires_grad=True))


def test_a_callable_is_called_for_its_picture_each_time(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(picture()))
    calls = []

    def lazy() -> Any:
        calls.append(len(calls))
        return forms[len(calls) - 1]

    forms = [path, str(path), path.read_bytes(), picture(), np.asarray(picture())]
    for _ in forms:
        assert np.array_equal(pixels(lazy), np.asarray(picture()))
    assert calls == list(range(len(forms)))


def test_what_a_callable_returns_is_held_to_the_limits() -> None:
    assert "aspect ratio over 200" in refusal(lambda: Image.new("RGB", (1005, 5)))
    assert "NoneType is no image" in refusal(lambda: None)
    assert "function is no image" in refusal(lambda: picture)


@pytest.mark.parametrize(
    "reason",
    [MediaError("page 3 is torn: print it again"), MissingDependencyError("pip install it")],
)
def test_a_callable_says_itself_why_there_is_no_picture(reason: Exception) -> None:
    def lazy() -> Any:
        raise reason

    with pytest.raises(type(reason)) as caught:
        load_image(lazy, LIMITS)
    assert caught.value is reason


def test_any_other_error_of_a_callable_is_told_by_its_type_only() -> None:
    def lazy() -> Any:
        raise KeyError("a secret at 0x7f00")

    message = refusal(lazy)
    assert "raised KeyError" in message
    assert "secret" not in message


def test_a_lazy_image_is_a_document_like_any_other(mini: Reranker) -> None:
    def torn() -> Any:
        raise InputError("it is torn")

    array = np.asarray(picture(size=(64, 64)))
    documents = [array, lambda: array, torn, Document(video=[lambda: array, array])]
    ranking = mini.rank("a picture", [*documents, {"video": [array, array]}])
    scores = {hit.index: hit.score for hit in ranking}
    assert scores[0] == scores[1]
    assert scores[3] == scores[4]
    assert [(failed.index, str(failed.error)) for failed in ranking.failed] == [(2, "it is torn")]
