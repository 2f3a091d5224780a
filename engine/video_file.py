"""Chosen frames out of a video file, each exactly the one of its number, through PyAV.

A file is read twice. Packets are counted first, without decoding: headers lie about frame counts,
and edit lists hide frames that headers count. Then the chosen frames are decoded, by timestamp,
which allows seeking in long videos; if timestamps turn out not to number the frames, by counting
them from the start. FFmpeg gets an open file, an allow-list of containers and no protocol, so that
nothing inside (a playlist, a reference) can make it open another file or the network.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from minireranker.configs import Limits
from minireranker.errors import MediaError, MissingDependencyError

from .guards import check_size
from .video_index import MISSING, VideoIndex

__all__ = ["CONTAINERS", "VideoFile"]

CONTAINERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "gif")
"""FFmpeg demuxers a video file may use; MP4 is ``mov``, WebM ``matroska``, WMV ``asf``."""

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0", b"RTSP", b"[playlist]")
_MOST_FPS = 240
"""Bounds the table of timestamps: this many packets a second of the longest video allowed."""
_SEEK_FRAMES = 100
"""A seek has to save decoding this many frames; short clips never seek."""
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class VideoFile:
    """An open video file; every method reads it from its beginning.

    All raise MediaError for what is outside the limits, and whatever FFmpeg raises for damage.
    """

    file: BinaryIO
    limits: Limits
    label: str

    def scan(self) -> VideoIndex:
        """Count frames and collect timestamps and keyframes from the packets."""
        pts, dts, keys = array("q"), array("q"), array("b")
        most = int(self.limits.max_video_seconds * _MOST_FPS)
        with self._opened() as (container, stream):
            rate, tick = float(stream.average_rate or 0), float(stream.time_base or 0)
            for packet in container.demux(stream):
                if not packet.size or packet.is_discard:
                    continue
                if packet.is_corrupt:
                    raise MediaError(f"{self.label} is damaged or truncated: fetch it again")
                if len(pts) == most:
                    raise MediaError(f"{self.label} has over {most} frames: cut it")
                pts.append(MISSING if packet.pts is None else packet.pts)
                dts.append(MISSING if packet.dts is None else packet.dts)
                keys.append(packet.is_keyframe)
        if not pts:
            raise MediaError(f"{self.label} has no frames: check where it comes from")
        index = VideoIndex.of(np.array([pts, dts, keys], np.int64), rate, tick)
        self._check_duration(index.seconds)
        return index

    def by_time(
        self, index: VideoIndex, numbers: Sequence[int], take: Callable[[Image.Image], None]
    ) -> bool:
        """Give ``take`` the frames of ``numbers`` (ascending), found by their timestamps.

        False, with some already given, where decoding does not go as the index says: ``by_count``
        is then the one to tell a damaged file from one with odd timestamps.
        """
        try:
            with self._opened() as (container, stream):
                for frame in _walk(container, stream, index, numbers):
                    if frame is None or frame.is_corrupt:
                        return False
                    take(self._upright(frame))
        except _pyav().FFmpegError:
            return False
        return True

    def by_count(self, numbers: Sequence[int], take: Callable[[Image.Image], None]) -> int:
        """Give ``take`` the frames of ``numbers`` (ascending), counted from the first.

        Returns how many frames were decoded: fewer than ``numbers[-1] + 1`` if the file ends early.
        """
        wanted, seen = set(numbers), 0
        with self._opened() as (container, stream):
            for frame in _decoded(container, stream):
                if seen in wanted:
                    if frame.is_corrupt:
                        raise MediaError(f"{self.label} is damaged at frame {seen}: fetch it again")
                    take(self._upright(frame))
                seen += 1
                if seen > numbers[-1]:
                    break
        if not seen:
            raise MediaError(f"{self.label} has no frame that can be decoded: fetch it again")
        return seen

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """The container and its video stream, checked as far as headers go."""
        self.file.seek(0)
        head = self.file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
        if head.startswith(_PLAYLISTS):
            raise MediaError(f"{self.label} is a playlist, not a video: pass the video itself")
        self.file.seek(0)
        with self._container() as container:
            yield container, self._stream(container)

    def _container(self) -> Any:
        av = _pyav()
        options = {
            "format_whitelist": ",".join(CONTAINERS),
            "protocol_whitelist": "none",
            "max_pixels": str(self.limits.max_source_pixels),
        }
        # Titles in another encoding are no damage; PyAV 19 reads them so by itself.
        lenient = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
        try:
            return av.open(self.file, mode="r", options=options, **lenient)
        except av.FFmpegError as error:
            raise MediaError(
                f"{self.label} is damaged, truncated or no video: pass MP4, MOV, MKV, WebM, AVI, "
                "MPEG, FLV, OGG, WMV or GIF"
            ) from error

    def _stream(self, container: Any) -> Any:
        """The first moving picture; a song's cover is a still one."""
        cover = _pyav().stream.Disposition.attached_pic
        stream = next((s for s in container.streams.video if not s.disposition & cover), None)
        if stream is None:
            raise MediaError(f"{self.label} has no video stream: pass a file that shows something")
        if stream.codec_context is None:
            raise MediaError(f"{self.label} has a codec PyAV cannot decode: convert it to H.264")
        check_size(stream.width, stream.height, self.limits, self.label)
        self._check_duration((container.duration or 0) / 1e6)
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": str(self.limits.max_source_pixels)}
        return stream

    def _check_duration(self, seconds: float) -> None:
        most = self.limits.max_video_seconds
        if seconds > most:
            limit = f"{most:g} s (limits.max_video_seconds)"
            raise MediaError(f"{self.label} lasts {seconds:.0f} s, over {limit}: cut it")

    def _upright(self, frame: Any) -> Image.Image:
        """A decoded frame as RGB, turned as the file says."""
        check_size(frame.width, frame.height, self.limits, self.label)
        image: Image.Image = frame.to_image()
        # Degrees counterclockwise, as Pillow counts them.
        turn = _TURNS.get(round(frame.rotation / 90) * 90 % 360)
        return image if turn is None else image.transpose(turn)


def _walk(container: Any, stream: Any, index: VideoIndex, numbers: Sequence[int]) -> Iterator[Any]:
    """The frames of ``numbers``, seeking where it pays; None once they are not as indexed.

    Frames follow one another without a gap, and after a seek the first is the keyframe sought or
    one before it: then the frame of a timestamp is the frame of its number.
    """
    frames, at = _decoded(container, stream), -1
    for number in numbers:
        key, dts = index.keyframe(number)
        sought = key - at > _SEEK_FRAMES
        if sought:
            container.seek(dts, stream=stream)
            frames = _decoded(container, stream)
        while sought or at < number:
            frame = next(frames, None)
            now = None if frame is None else index.number(frame.pts)
            if now is None or (now > key if sought else now != at + 1):
                yield None
                return
            at, sought = now, False
        yield frame


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames from where the container stands, in the order they are shown."""
    for packet in container.demux(stream):
        # An empty packet would be taken for the end of the stream.
        if packet.size:
            yield from packet.decode()
    yield from stream.decode(None)


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError(
            "reading a video file needs PyAV: pip install 'minireranker[video]'"
        ) from error
    return av
