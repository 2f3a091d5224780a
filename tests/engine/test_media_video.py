"""The frame of each number is the one decoded; hostile files are refused and say why.

Every frame of the videos made here shows its own number in black and white bands.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minireranker.configs import Limits
from minireranker.engine import video_file
from minireranker.engine.pixels import video_dims, video_visual
from minireranker.engine.video import load_video, sampled_frames
from minireranker.errors import MediaError, MissingDependencyError

av = pytest.importorskip("av")

LIMITS = Limits(frame_min_pixels=4_096)
BITS = 10
SIZE = (80, 48)
H264 = "libx264" if "libx264" in av.codecs_available else "mpeg4"


def numbered(number: int, size: tuple[int, int] = SIZE) -> Image.Image:
    bands = [255 * (number >> bit & 1) for bit in range(BITS)]
    row = np.repeat(np.uint8(bands), size[0] // BITS)
    return Image.fromarray(np.tile(row, (size[1], 1))).convert("RGB")


def number_of(image: Image.Image) -> int:
    row = np.asarray(image.convert("L").resize((BITS, 1), Image.Resampling.BOX))[0]
    return sum(1 << bit for bit in range(BITS) if row[bit] > 127)


def encode(
    path: Path,
    count: int,
    *,
    fps: int = 10,
    codec: str = H264,
    size: tuple[int, int] = SIZE,
    prepare: Callable[[Any], None] = lambda stream: None,
    metadata: dict[str, str] | None = None,
) -> Path:
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = 12
        prepare(stream)
        for number in range(count):
            frame = av.VideoFrame.from_image(numbered(number, size))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def remux(source: Path, target: Path, shift: int = 0, skip: int = 0, **options: str) -> Path:
    """The packets after ``skip``, ``shift`` ticks earlier: an edit list hides those before zero."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.dts is not None]
        for packet in packets[skip:]:
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = stream
            new.mux(packet)
    return target


def refusal(source: Any, limits: Limits = LIMITS) -> str:
    with pytest.raises(MediaError) as caught:
        load_video(source, limits)
    return str(caught.value)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 frames, 5 seconds."""
    return encode(tmp_path_factory.mktemp("video") / "clip.mp4", 50)


def test_a_file_is_sampled_evenly_with_times_in_seconds(clip: Path) -> None:
    frames = load_video(clip, LIMITS)
    assert [number_of(image) for image in frames.images] == [0, 16, 33, 49]
    assert frames.times == [0.0, 1.6, 3.3, 4.9]
    assert frames.source_size == SIZE
    assert {image.size for image in frames.images} == {(64, 64)}


def test_path_string_and_bytes_are_the_same(clip: Path) -> None:
    first, *others = (load_video(source, LIMITS) for source in (clip, str(clip), clip.read_bytes()))
    for other in others:
        assert other.times == first.times
        assert [i.tobytes() for i in other.images] == [i.tobytes() for i in first.images]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "mpeg4"),
        ("a.mkv", H264),
        ("a.avi", "mpeg4"),
        ("a.ts", H264),
        ("a.mpg", "mpeg2video"),
        ("a.webm", "libvpx"),
        ("a.flv", H264),
    ],
)
@pytest.mark.parametrize("count", [30, 600])
def test_the_frame_of_a_number_is_that_frame(
    name: str, codec: str, count: int, tmp_path: Path
) -> None:
    """30 are decoded through; of 600 every 200th is sought or, where that is not exact, counted."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")

    def prepare(stream: Any) -> None:
        stream.options = {"deadline": "realtime"} if codec == "libvpx" else {}

    path = encode(tmp_path / name, count, fps=25, codec=codec, prepare=prepare)
    limits = Limits(frame_min_pixels=4_096, video_max_frames=4)
    frames = load_video(path, limits)
    wanted = {30: [0, 10, 19, 29], 600: [0, 200, 399, 599]}[count]
    assert [number_of(image) for image in frames.images] == wanted
    assert frames.times == [number / 25 for number in wanted]


def test_long_videos_are_sought_not_decoded_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame far from the one before it costs its group of pictures only."""
    path = encode(tmp_path / "long.mp4", 600)
    decoded: list[int] = []
    decode = video_file._decoded

    def counted(container: Any, stream: Any) -> Any:
        for frame in decode(container, stream):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(video_file, "_decoded", counted)
    frames = load_video(path, Limits(video_max_frames=4))
    assert [number_of(image) for image in frames.images] == [0, 200, 399, 599]
    assert len(decoded) < 60


def test_frames_an_edit_list_hides_are_not_counted(clip: Path, tmp_path: Path) -> None:
    """Their packets are in the file, and in its header's count, but no player shows them."""
    with av.open(str(clip)) as container:
        tick = container.streams.video[0].time_base
    ticks = int(1.3 / tick)
    path = remux(clip, tmp_path / "cut.mp4", shift=ticks, avoid_negative_ts="disabled")
    frames = load_video(path, LIMITS)
    assert [number_of(image) for image in frames.images] == [13, 25, 37, 49]
    with path.open("rb") as file:
        assert video_file.VideoFile(file, LIMITS, "cut").scan().count == 37
    assert frames.times == [0.0, 1.2, 2.4, 3.6]


def test_packets_without_timestamps_are_counted(tmp_path: Path) -> None:
    """AVI has no display times: with B-frames the numbers come from counting."""

    def prepare(stream: Any) -> None:
        stream.codec_context.max_b_frames = 2

    path = encode(tmp_path / "b.avi", 45, codec="mpeg4", prepare=prepare)
    frames = load_video(path, LIMITS)
    assert [number_of(image) for image in frames.images] == [0, 15, 29, 44]


def test_packets_that_give_no_frame_are_not_counted(clip: Path, tmp_path: Path) -> None:
    """A recording that starts between keyframes: numbers run over what can be decoded."""
    if H264 != "libx264":
        pytest.skip("this PyAV has no libx264; MPEG-4 decodes without a keyframe")
    path = remux(clip, tmp_path / "late.mkv", skip=1)
    frames = load_video(path, LIMITS)
    assert [number_of(image) for image in frames.images] == [12, 24, 37, 49]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_short_clips(count: int, tmp_path: Path) -> None:
    frames = load_video(encode(tmp_path / "short.mp4", count), LIMITS)
    numbers = {1: [0], 2: [0, 1], 3: [0, 2], 5: [0, 1, 3, 4]}[count]
    assert [number_of(image) for image in frames.images] == numbers


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_rotation_is_applied(degrees: int, tmp_path: Path) -> None:
    path = encode(
        tmp_path / "phone.mp4", 2, prepare=lambda stream: stream.set_display_rotation(degrees)
    )
    frames = load_video(path, LIMITS)
    upright = frames.images[1].rotate(-degrees, expand=True)
    assert frames.source_size == (SIZE if degrees == 180 else SIZE[::-1])
    assert number_of(upright) == 1


def test_titles_in_another_encoding_are_no_damage(tmp_path: Path) -> None:
    path = encode(tmp_path / "latin.avi", 4, codec="mpeg4", metadata={"title": "caffe!"})
    data = path.read_bytes()
    assert b"caffe!" in data
    assert load_video(data.replace(b"caffe!", b"caff\xe9!"), LIMITS).times[0] == 0.0


@given(
    total=st.integers(1, 500_000),
    fps=st.floats(0.5, 240),
    most=st.integers(2, 100),
    rate=st.floats(0.1, 30),
)
def test_sampling_is_even_and_within_limits(total: int, fps: float, most: int, rate: float) -> None:
    limits = Limits(video_fps=rate, video_min_frames=min(4, most), video_max_frames=most)
    numbers = sampled_frames(total, fps, limits)
    assert numbers[0] == 0
    assert len(numbers) == 1 or (numbers[-1] == total - 1 and len(numbers) % 2 == 0)
    assert len(numbers) <= min(most, total)
    steps = np.diff(numbers)
    assert (steps >= 1).all()
    assert len(numbers) < 3 or np.ptp(steps) <= 1


def test_a_list_of_frames_is_taken_at_two_a_second() -> None:
    frames = load_video([numbered(number) for number in range(6)], LIMITS)
    assert [number_of(image) for image in frames.images] == list(range(6))
    assert frames.times == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


def test_an_odd_list_repeats_its_last_frame_at_its_own_time() -> None:
    """As published: the list is made even first and numbered afterwards."""
    frames = load_video([numbered(number) for number in range(3)], LIMITS)
    assert [number_of(image) for image in frames.images] == [0, 1, 2, 2]
    visual = video_visual(frames.images, frames.times, LIMITS, frames.source_size)
    assert visual.timestamps == (0.25, 1.25)


def test_a_long_list_is_sampled_and_numbered_anew() -> None:
    """``np.linspace(0, 9, 4, dtype=int)``; times are those of the shortened list."""
    limits = Limits(frame_min_pixels=4_096, video_min_frames=2, video_max_frames=4)
    frames = load_video([numbered(number) for number in range(10)], limits)
    assert [number_of(image) for image in frames.images] == [0, 3, 6, 9]
    assert frames.times == [0.0, 0.5, 1.0, 1.5]


def test_frames_may_be_files_bytes_or_arrays(tmp_path: Path) -> None:
    images = [numbered(number) for number in range(4)]
    images[1].save(tmp_path / "1.png")
    buffer = io.BytesIO()
    images[2].save(buffer, "PNG")
    mixed = [images[0], tmp_path / "1.png", buffer.getvalue(), np.asarray(images[3])]
    array = np.stack([np.asarray(image) for image in images])
    for source in (mixed, tuple(mixed), array):
        assert [number_of(i) for i in load_video(source, LIMITS).images] == [0, 1, 2, 3]


def test_frames_are_held_at_the_size_the_model_sees() -> None:
    """Resizing once, at loading, is resizing in ``video_visual``."""
    limits = Limits(frame_min_pixels=1_024, frame_max_pixels=4_096)
    images = [numbered(number, (320, 240)) for number in range(4)]
    frames = load_video(images, limits)
    early = video_visual(frames.images, frames.times, limits, frames.source_size)
    late = video_visual(images, frames.times, limits)
    assert frames.images[0].size == video_dims(240, 320, 4, limits)[::-1]
    assert early.digest() == late.digest()
    assert early.source_size == late.source_size == (320, 240)


def test_a_bad_frame_is_named() -> None:
    message = refusal([numbered(0), Image.new("RGB", (2, 2)), numbered(2)])
    assert message.startswith("frame 1 of a video:")
    assert "a side under 4 px" in message


def test_no_frames_and_no_video_are_refused(tmp_path: Path) -> None:
    assert "video without frames" in refusal([])
    assert "video without frames" in refusal(np.zeros((0, 8, 8, 3), np.uint8))
    assert "Image is no video" in refusal(numbered(0))
    assert "is empty" in refusal(b"")
    assert "no video: pass MP4" in refusal(b"nothing of the kind" * 100)
    assert "is a folder" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "absent.mp4")


@pytest.mark.parametrize("url", ["http://example.org/a.mp4", "concat://a|b", "file:///a.mp4"])
def test_urls_are_refused(url: str) -> None:
    assert "URLs are not fetched" in refusal(url)


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{path}'\n",
    "dash": '<?xml version="1.0"?>\n<MPD><BaseURL>{path}</BaseURL></MPD>\n',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("sniffed", [True, False])
def test_playlists_open_nothing(
    kind: str, sniffed: bool, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the name; FFmpeg refuses them too where the first look misses one."""
    if not sniffed:
        monkeypatch.setattr(video_file, "_PLAYLISTS", ())
    text = PLAYLISTS[kind].format(path=clip)
    for name in ("list.mp4", "list.m3u8", "list.sdp"):
        path = tmp_path / name
        path.write_text(text)
        assert ("is a playlist" if sniffed else "no video: pass MP4") in refusal(path)


def test_files_without_moving_pictures_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "no video stream" in refusal(path)
    still = io.BytesIO()
    numbered(0).save(still, "PNG")
    assert "no video: pass MP4" in refusal(still.getvalue())


def test_damaged_and_truncated_files_are_refused(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    assert "damaged, truncated or no video" in refusal(data[: len(data) // 2])
    front = remux(clip, tmp_path / "front.mp4", movflags="faststart").read_bytes()
    assert "damaged" in refusal(front[: len(front) - 500])
    hostile = bytearray(front)
    hostile[-2000::7] = bytes(0xFF ^ byte for byte in hostile[-2000::7])
    assert "damaged" in refusal(bytes(hostile))


def test_a_frame_the_decoder_had_to_patch_up_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.avi"
    noise = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    hostile = bytearray(path.read_bytes())
    assert len(load_video(bytes(hostile), LIMITS).images) == 1
    middle = len(hostile) // 2
    hostile[middle : middle + 99] = bytes(0xFF ^ byte for byte in hostile[middle : middle + 99])
    assert "damaged at frame 0" in refusal(bytes(hostile))


def test_scrambled_files_give_frames_or_a_media_error(clip: Path) -> None:
    data = clip.read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(25):
        hostile = bytearray(data)
        for at in rng.integers(0, len(data), 6):
            hostile[at] ^= 1 << int(rng.integers(8))
        try:
            load_video(bytes(hostile), LIMITS)
        except MediaError:
            refused += 1
    assert refused > 0


def test_limits_of_a_file(clip: Path) -> None:
    data = clip.read_bytes()
    for source in (clip, data):
        assert "at most 99 are read" in refusal(source, Limits(max_video_bytes=99))
        assert "lasts 5 s, over 2 s" in refusal(source, Limits(max_video_seconds=2))
        assert "80 x 48 px: over 3839 pixels" in refusal(source, Limits(max_source_pixels=3839))
        assert "a side under 49 px" in refusal(source, Limits(min_side=49))


def test_without_pyav_the_extra_is_named(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"minireranker\[video\]"):
        load_video(clip, LIMITS)
    assert load_video([numbered(0)], LIMITS).times == [0.0, 0.5]
