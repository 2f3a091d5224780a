"""What a request brings, as documents and queries of the engine, within the limits.

Headers are looked at here, pixels are the engine's. A URL or a path is refused unless the
configuration allows it, and never reaches the engine: it gets bytes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minireranker.errors import InputError, MediaError

from .config import ServeConfig
from .fetch import Fetcher
from .holding import Holding
from .jobs import Given
from .locations import is_url
from .media_checks import check_picture, check_video

if TYPE_CHECKING:
    from minireranker.configs import Limits
    from minireranker.engine import Document, Query

__all__ = ["RequestMedia"]

_DATA = re.compile(r"data:[^,;]{0,127}(;[^,;]{1,127})*;base64,", re.IGNORECASE)
_LONGEST_PATH = 4_096


@dataclass(frozen=True)
class _Kind:
    """Images or videos: what a message calls them, and how many bytes one may have."""

    name: str
    max_bytes: int


class RequestMedia:
    """The ``seams.MediaReader`` of one configuration and the engine's limits."""

    def __init__(self, config: ServeConfig, limits: Limits, fetcher: Fetcher | None = None) -> None:
        """``limits``: of the profile that is served."""
        self._config, self._limits = config, limits
        self._fetcher = fetcher or Fetcher(config)
        self._holding = Holding(config.url_held_bytes)
        self._image = _Kind("image", limits.max_image_bytes)
        self._video = _Kind("video", limits.max_video_bytes)
        self._roots = [os.path.realpath(root) for root in config.path_roots]

    async def query(self, given: Given) -> Query:
        """See ``seams.MediaReader``. Raises InputError."""
        from minireranker.engine import Query

        images, videos, held = await self._media(given)
        query = Query(text=given.texts or None, image=images or None, video=videos or None)
        self._release_with(query, held)
        return query

    async def document(self, given: Given) -> Document | str:
        """See ``seams.MediaReader``. Raises InputError."""
        from minireranker.engine import Document, DocumentId

        if not given.images and not given.videos:
            if given.id is None and not given.texts:
                raise InputError("the document is empty: give it a text, an image or a video")
            # The engine knows an id or a text in several requests of a round for the same.
            if given.id is None and len(given.texts) == 1:
                return given.texts[0]
            if given.id is not None and not given.texts:
                return DocumentId(given.id)
        images, videos, held = await self._media(given)
        document = Document(
            text=given.texts or None, image=images or None, video=videos or None, id=given.id
        )
        self._release_with(document, held)
        return document

    def _release_with(self, owner: object, held: int) -> None:
        if held:
            weakref.finalize(owner, self._holding.release, held)

    async def _media(
        self, given: Given
    ) -> tuple[list[bytes], list[bytes | tuple[bytes, ...]], int]:
        """Bytes of images and videos, and how many of them were fetched."""
        if not given.images and not given.videos:
            return [], [], 0
        frames = [len(video) if isinstance(video, tuple) else 1 for video in given.videos]
        count, most = len(given.images) + sum(frames), self._config.document_media
        if count > most:
            raise InputError(f"{count} images, videos and frames: at most {most}; leave some out")
        batch = _Batch(self)
        try:
            images = [await batch.picture(source) for source in given.images]
            videos = [await batch.video(source) for source in given.videos]
        except BaseException:
            self._holding.release(batch.held)
            raise
        return images, videos, batch.held

    async def _bytes(self, source: bytes | str, kind: _Kind) -> tuple[bytes, int]:
        """The file a source stands for, and how many bytes of it are held against the limit."""
        if isinstance(source, bytes):
            return source, 0
        if source[:5].lower() == "data:":
            return _from_data(source, kind), 0
        if is_url(source):
            data = await self._fetcher.fetch(source, kind.max_bytes)
            if not self._holding.take(len(data)):
                raise MediaError(
                    "too many fetched files are in use at the moment: try again, or send the bytes"
                )
            return data, len(data)
        path = self._path(source)
        if path is not None:
            return await asyncio.to_thread(_from_file, path, kind), 0
        return _from_base64(source, kind), 0

    def _path(self, text: str) -> str | None:
        """The real path of a text under one of the roots; None where it is not under any.

        Only what is under a root by its letters is looked for on the disk, and then has to be so
        without its links too. Raises MediaError where it is not.
        """
        if not self._roots or len(text) > _LONGEST_PATH or "\0" in text or not text.isprintable():
            return None
        plain = os.path.normpath(text)
        named = [os.path.abspath(root) for root in self._config.path_roots]
        if not any(_is_under(plain, root) for root in [*named, *self._roots]):
            return None
        real = os.path.realpath(plain)
        if not any(_is_under(real, root) for root in self._roots):
            raise MediaError("this path leads out of the folders that are served; send the bytes")
        return real


class _Batch:
    """Reads the media of one document, one after the other."""

    def __init__(self, reader: RequestMedia) -> None:
        self._reader, self.held = reader, 0

    async def picture(self, source: bytes | str) -> bytes:
        reader = self._reader
        data = await self._taken(source, reader._image)
        await asyncio.to_thread(check_picture, data, reader._limits, reader._config.image_pixels)
        return data

    async def video(
        self, source: bytes | str | tuple[bytes | str, ...]
    ) -> bytes | tuple[bytes, ...]:
        reader = self._reader
        if isinstance(source, tuple):
            return tuple([await self.picture(frame) for frame in source])
        data = await self._taken(source, reader._video)
        config = reader._config
        await asyncio.to_thread(
            check_video, data, reader._limits, config.image_pixels, config.video_frames
        )
        return data

    async def _taken(self, source: bytes | str, kind: _Kind) -> bytes:
        data, held = await self._reader._bytes(source, kind)
        self.held += held
        return data


def _is_under(path: str, root: str) -> bool:
    return os.path.isabs(path) and Path(path).is_relative_to(root)


def _from_data(text: str, kind: _Kind) -> bytes:
    head = _DATA.match(text[:1_024])
    if head is None:
        raise MediaError(f"this data: URI of an {kind.name} is not base64; write ;base64, in it")
    return _from_base64(text[head.end() :], kind)


def _from_base64(text: str, kind: _Kind) -> bytes:
    """Strict, with or without padding; the URL-safe alphabet too. Raises MediaError."""
    if len(text) > kind.max_bytes * 4 // 3 + 4:
        raise MediaError(f"this {kind.name} has over {kind.max_bytes} bytes: reduce it")
    try:
        data = text.encode("ascii").translate(_PLAIN_ALPHABET)
        data = data.rstrip(b"=")
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise MediaError(
            f"this {kind.name} is no base64, data: URI, allowed URL or allowed path: send its "
            "bytes as base64"
        ) from None


_PLAIN_ALPHABET = bytes.maketrans(b"-_", b"+/")


def _from_file(path: str, kind: _Kind) -> bytes:
    from minireranker.engine.guards import open_file

    with open_file(path, kind.max_bytes, f"this {kind.name}") as file:
        return file.read(kind.max_bytes + 1)
