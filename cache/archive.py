"""Tar archives of regular files, written as a stream and read as if an enemy had written them.

The standard library reads far more than is wanted here (links, sparse maps, chains of headers that
recurse, headers of any size). Here a member is a regular file, or it is passed over.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from minireranker.errors import CacheError

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(_BLOCK)
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)
_WITHOUT_DATA = frozenset(
    {tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE}
    | {tarfile.DIRTYPE, tarfile.FIFOTYPE}
)
_ABOUT_NEXT = (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE)
_MOST_ABOUT_NEXT = 64 * 1024
"""Bytes of a header about the next member's header; ours have 512."""


@dataclass(frozen=True)
class Member:
    """One member of an archive: all its header says."""

    name: str
    size: int
    """Bytes; they are all in the file, from ``start``."""
    is_file: bool
    """A regular file: not a link, folder or device."""
    start: int


class ArchiveWriter:
    """Writes members one after the other into a file that can be sought in."""

    def __init__(self, file: BinaryIO) -> None:
        """``file`` is written from where it stands."""
        self._file = file

    def add(self, name: str, chunks: Iterable[bytes]) -> int:
        """One member made of ``chunks``; its bytes. Same name and bytes: same archive."""
        header = tarfile.TarInfo(name)
        header.mode = 0o644
        at = self._file.tell()
        self._file.write(header.tobuf(tarfile.GNU_FORMAT))
        for chunk in chunks:
            self._file.write(chunk)
            header.size += len(chunk)
        self._file.write(bytes(-header.size % _BLOCK))
        end = self._file.tell()
        self._file.seek(at)  # the size is known only now
        self._file.write(header.tobuf(tarfile.GNU_FORMAT))
        self._file.seek(end)
        return header.size

    def finish(self) -> None:
        """Write the end mark."""
        self._file.write(2 * _END)


def members(file: BinaryIO) -> Iterator[Member]:
    """The members of an archive in their order; ``file`` may be moved between two of them.

    Raises CacheError where the archive is damaged or ends without its end mark.
    """
    length, at, name = file.seek(0, 2), 0, None
    while (header := _header(file, at)) is not None:
        start = at + _BLOCK
        size = 0 if header.type in _WITHOUT_DATA else header.size
        if size < 0 or start + size > length:
            raise CacheError(f"it ends inside the member at byte {at}")
        if header.type in _ABOUT_NEXT:
            name = _next_name(file, header, start) or name
        elif header.type == tarfile.GNUTYPE_SPARSE:
            raise CacheError(f"the member at byte {at} is a sparse file, which is not read here")
        elif header.type not in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            yield Member(name or header.name, size, header.type in _REGULAR, start)
            name = None
        at = start + size + -size % _BLOCK


def _header(file: BinaryIO, at: int) -> tarfile.TarInfo | None:
    """The header at a byte, or None for the end mark."""
    file.seek(at)
    block = file.read(_BLOCK)
    if block == _END:
        return None
    if len(block) < _BLOCK:
        raise CacheError(f"it ends at byte {at + len(block)}, without an end mark")
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise CacheError(f"there is no tar header at byte {at}") from error


def _next_name(file: BinaryIO, header: tarfile.TarInfo, start: int) -> str | None:
    """The name that a GNU long name or a pax header gives the member after it."""
    if header.size > _MOST_ABOUT_NEXT:
        raise CacheError(f"the header at byte {start - _BLOCK} has {header.size} bytes")
    file.seek(start)
    data = file.read(header.size)
    if header.type == tarfile.XHDTYPE:
        data = _pax_path(data)
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape") or None


def _pax_path(data: bytes) -> bytes:
    """The record "path" among records of the form "<length> <name>=<value>\\n"."""
    path = b""
    while data:
        digits, _, _ = data.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 6 else 0
        name, _, value = data[len(digits) + 1 : max(length - 1, 0)].partition(b"=")
        if name == b"path":
            path = value
        data = data[length:] if length else b""
    return path
