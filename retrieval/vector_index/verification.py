"""Reads every byte of an index and says which documents have been hit."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from minireranker.engine.progress import Progress
from minireranker.errors import VectorIndexError

from .checked_file import digest
from .damages import Damage, hits, names_of
from .layout import BLOCK, blocks_in
from .manifest import NAME, Manifest, load
from .segment import Segment
from .segment_file import Entry
from .settings import Settings
from .snapshot import Part, Snapshot


@dataclass(frozen=True)
class Verification:
    """What was read, and what is not as it was written."""

    files: int
    bytes: int
    """Of the files, whether they could be read or not."""
    documents: int
    """In all files, deleted ones included."""
    damages: tuple[Damage, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damages

    @property
    def lost(self) -> tuple[str, ...]:
        """Ids of all documents that are hit: append these again."""
        return tuple(dict.fromkeys(name for item in self.damages for name in item.documents))

    def __str__(self) -> str:
        """A line, and one a damage."""
        head = f"{self.files} files, {self.bytes} bytes, {self.documents} documents: "
        if self.sound:
            return head + "all as written"
        lines = "\n".join(map(str, self.damages))
        return f"{head}{len(self.damages)} damaged places\n{lines}"


def verify(folder: Path, snapshot: Snapshot | None, progress: bool | None) -> Verification:
    """Of the index in ``folder`` as it is on the disk now, whatever its state.

    ``snapshot`` knows what is deleted, and ids that can no longer be read.
    """
    now, damages = _manifest(folder, snapshot)
    if now is None:
        return Verification(1, damages[0].stop, 0, tuple(damages))
    total = sum(blocks_in(entry.bytes) for entry in now.segments)
    with Progress("Verifying", total, progress) as bar:
        for entry in now.segments:
            parts = snapshot.parts if snapshot else ()
            known = next((part for part in parts if part.segment.entry == entry), None)
            path = folder / entry.name
            damages += _of_segment(path, entry, now.settings, known, bar.advance)
    damages += _of_graph(folder, now)
    if damages and _changed(folder, now):
        return verify(folder, snapshot, progress)
    read = sum(entry.bytes for entry in now.segments) + (now.graph.bytes if now.graph else 0)
    documents = sum(entry.documents for entry in now.segments)
    read += len(now.text().encode())
    return Verification(1 + len(now.names), read, documents, tuple(damages))


def _manifest(folder: Path, snapshot: Snapshot | None) -> tuple[Manifest | None, list[Damage]]:
    """What is to be read: as the manifest says or, if that is damaged, as it did before."""
    try:
        return load(folder), []
    except VectorIndexError:
        path, size = folder / NAME, 0
        with contextlib.suppress(OSError, ValueError):
            size = path.stat().st_size
        known = snapshot.manifest if snapshot else None
        return known, [Damage(path, "manifest", 0, size, ())]


def _changed(folder: Path, now: Manifest) -> bool:
    """Whether there is another state meanwhile: files may be gone for a good reason."""
    try:
        return load(folder) != now
    except VectorIndexError:
        return False


def _of_segment(
    path: Path,
    entry: Entry,
    settings: Settings,
    known: Part | None,
    advance: Callable[[], None],
) -> Iterator[Damage]:
    alive = known.alive if known else None
    try:
        segment = Segment(path, entry, settings)
    except (OSError, VectorIndexError):
        documents = names_of(known.segment, 0, entry.documents, alive) if known else ()
        yield Damage(path, "whole file", 0, entry.bytes, documents)
        return
    for block in segment.file.damaged(advance):
        start = block * BLOCK
        found = list(hits(segment, start, min(start + BLOCK, segment.file.end), alive))
        yield from found or [Damage(path, "layout", start, segment.file.end, ())]


def _of_graph(folder: Path, now: Manifest) -> Iterator[Damage]:
    if now.graph is None:
        return
    path, size = folder / now.graph.name, now.graph.bytes
    try:
        sound = os.stat(path).st_size == size
        flat = torch.from_file(os.fspath(path), False, size, dtype=torch.uint8) if sound else None
    except (OSError, RuntimeError):
        flat = None
    if flat is None or digest(flat.numpy()) != now.graph.root:
        yield Damage(path, "graph", 0, size, ())
