"""Where everything lies in a segment file: arithmetic only.

    header     128 bytes: what the file is, and the counts the rest follows from
    parts      in the order of PARTS, each from a multiple of 64 bytes
    checks     one 64-bit xxh3 for each BLOCK bytes of all that is before

n documents have t token vectors in all; what belongs to a document lies in document order.

    part            bytes                     meaning
    kills           8 kills                   numbers of documents that no longer exist, rising
    numbers         8 n                       of the documents, rising; never given twice
    hashes          8 n                       xxh3 of the ids, rising
    hash_rows       4 n                       whose they are
    token_ends      8 (n + 1)                 document i has token vectors [ends[i], ends[i + 1])
    id_ends         8 (n + 1)                 likewise, bytes of ids
    source_ends     8 (n + 1)                 likewise, bytes of sources
    ids, sources                              UTF-8; a source without bytes is None
    pooled          4 n pooled_dim            float32
    scales          4 t                       float32, only with int8
    tokens          t dim itemsize
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass

from .settings import DTYPES, Settings

BLOCK = 256 * 1024
"""Bytes under one checksum: what reading a single document reads at least."""

CHECK = 8
"""Bytes of a checksum."""

ALIGNMENT = 64
HEADER = struct.Struct("<8sIIIIdQQQQQ")
HEADER_BYTES = 128
MAGIC = b"mrvectrs"
VERSION = 1

PARTS = (
    *("kills", "numbers", "hashes", "hash_rows"),
    *("token_ends", "id_ends", "source_ends", "ids", "sources"),
    *("pooled", "scales", "tokens"),
)

ENDS = {
    "ids": "id_ends",
    "sources": "source_ends",
    "scales": "token_ends",
    "tokens": "token_ends",
}
"""Which ends say what of a part belongs to a document."""


@dataclass(frozen=True)
class Counts:
    """Of one segment: all that its layout depends on, besides the index's settings."""

    documents: int
    tokens: int
    kills: int
    id_bytes: int
    source_bytes: int


class Layout:
    """Of a segment file. ``spans``: part -> (first byte, byte after the last); ``end``: of all."""

    def __init__(self, settings: Settings, counts: Counts, norm: float) -> None:
        """``norm``: the largest of the pooled vectors."""
        self.settings, self.counts, self.norm = settings, counts, norm
        self.spans: dict[str, tuple[int, int]] = {}
        at = HEADER_BYTES
        for part, size in self._sizes().items():
            self.spans[part] = (at, at + size)
            at = -(-(at + size) // ALIGNMENT) * ALIGNMENT
        self.end = at

    def _sizes(self) -> dict[str, int]:
        n, t = self.counts.documents, self.counts.tokens
        sizes = {
            "kills": 8 * self.counts.kills,
            "numbers": 8 * n,
            "hashes": 8 * n,
            "hash_rows": 4 * n,
            **dict.fromkeys(("token_ends", "id_ends", "source_ends"), 8 * (n + 1)),
            "ids": self.counts.id_bytes,
            "sources": self.counts.source_bytes,
            "pooled": 4 * n * self.settings.pooled_dim,
            "scales": 4 * t if self.settings.has_scales else 0,
            "tokens": t * self.settings.token_bytes,
        }
        assert tuple(sizes) == PARTS, "the order of the parts is the format"
        return sizes

    @property
    def file_bytes(self) -> int:
        """Of the whole file, checks included."""
        return self.end + blocks_in(self.end) * CHECK

    def item_bytes(self, part: str) -> int:
        """Of one number, row or character of a part."""
        sizes = {
            "hash_rows": 4,
            "ids": 1,
            "sources": 1,
            "pooled": 4 * self.settings.pooled_dim,
            "scales": 4,
            "tokens": self.settings.token_bytes,
        }
        return sizes.get(part, 8)

    def header(self) -> bytes:
        """The first HEADER_BYTES of the file."""
        settings = self.settings
        kind = list(DTYPES).index(settings.dtype)
        numbers = (VERSION, kind, settings.dim, settings.pooled_dim)
        packed = HEADER.pack(MAGIC, *numbers, self.norm, *astuple(self.counts))
        return packed.ljust(HEADER_BYTES, b"\0")

    @classmethod
    def of_header(cls, settings: Settings, header: bytes) -> Layout | None:
        """Of a file that begins so; None if it is none of an index with these settings."""
        _, _, _, _, _, norm, *counts = HEADER.unpack_from(header)
        layout = cls(settings, Counts(*counts), norm)
        return layout if layout.header() == header else None


def blocks_in(size: int) -> int:
    """How many blocks ``size`` bytes are, the last one perhaps shorter."""
    return -(-size // BLOCK)


def end_of(file_bytes: int) -> int:
    """Where the checks begin in a file of that size: what ``Layout.file_bytes`` came from."""
    return file_bytes - CHECK * -(-file_bytes // (BLOCK + CHECK))
