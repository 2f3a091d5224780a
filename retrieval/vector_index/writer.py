"""Whoever has an index's lock: makes files, and states of the index that name them.

A file is whole and on the disk before a state names it, and a state replaces the one before it at
once: killed at any moment, a writer leaves one of the two, and files that the next one removes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from minireranker.engine.progress import Progress
from minireranker.errors import VectorIndexError
from minireranker.retrieval.vectors import TokenVectors

from . import manifest, tiers
from .batch import Batch
from .folder import GRAPH, SEGMENT, Folder
from .graph import FEWEST, Graph, dead_in, due, empty
from .layout import Layout
from .segment_file import Entry, Parts, write_segment
from .snapshot import Part, Places, Snapshot
from .survivors import Survivors

logger = logging.getLogger(__name__)


class Writer:
    """Of the index in ``folder``, as long as its lock is held. Methods raise OSError."""

    def __init__(self, folder: Folder, before: Snapshot) -> None:
        """Take the index as it is now, and remove what killed writers left."""
        self.folder = folder
        self.snapshot = Snapshot.of(folder.path, before)
        folder.sweep(self.snapshot.manifest)

    def append(self, batch: Batch, largest: int = tiers.LARGEST) -> None:
        """Add documents; those that have their ids already go in the same state."""
        number, entries = self.snapshot.manifest.next_number, list[Entry]()
        kills = self._numbers(self.snapshot.find(batch.ids, batch.keys))
        for first, last in batch.cut(largest):
            entries.append(self._write(*batch.drawn(first, last, number + first, kills)))
            kills = kills[:0]
        self._publish(add=entries, next_number=number + len(batch.ids))

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents; how many there were."""
        kills = self._numbers(self.snapshot.find(ids))
        if len(kills):
            settings = self.snapshot.manifest.settings
            pooled = torch.empty(0, settings.pooled_dim)
            nothing = TokenVectors(
                torch.empty(0, settings.dim), np.zeros(1, np.int64), None, pooled
            )
            drawn = Batch(settings, [], nothing, []).drawn(0, 0, 0, kills)
            self._publish(add=[self._write(*drawn)])
        return len(kills)

    def settle(self) -> None:
        """Merge what is worth it, and bring the graph up to date; what fails is only logged."""
        try:
            while places := tiers.worth_merging(self._needed()):
                self.merge(places)
            if self.snapshot.manifest.settings.ann == "hnsw" and (task := due(self.snapshot)):
                self.link(anew=task == "new")
        except (OSError, VectorIndexError) as error:
            logger.warning("%s holds every document, but untidily: %s", self.folder.path, error)
            self.folder.sweep(manifest.load(self.folder.path))

    def compact(self, progress: bool | None, largest: int = tiers.LARGEST) -> None:
        """Rewrite without the deleted, and merge as far as files may grow."""
        parts = self.snapshot.parts  # kills lie behind what they mean, so they go in one pass
        waiting = [
            [parts[at].segment.entry for at in group]
            for group in tiers.groups(self._needed(), largest)
        ]
        with Progress("Compacting", len(waiting), progress) as bar:
            for entries in waiting:
                self._rewrite(entries)
                bar.advance()
        graph = self.snapshot.manifest.graph
        dead = graph is not None and dead_in(graph, self.snapshot) > 0
        if self.snapshot.manifest.settings.ann == "hnsw" and (dead or due(self.snapshot)):
            self.link(anew=dead)

    def merge(self, places: Sequence[int]) -> None:
        """Make these segments one."""
        parts = self.snapshot.parts
        others = [part for at, part in enumerate(parts) if at not in places]
        drawn = Survivors([parts[at] for at in places], others).drawn()
        entries = [self._write(*drawn)] if drawn else []
        self._publish(add=entries, drop={parts[at].segment.entry for at in places})
        self.folder.sweep(self.snapshot.manifest)

    def link(self, anew: bool) -> None:
        """Make the graph of neighbours, or add to it what it lacks; none for few documents."""
        now, entry = self.snapshot.manifest, None
        if self.snapshot.documents >= FEWEST:
            graph = None if anew else self._graph(now)
            graph = graph or Graph(empty(now.settings.pooled_dim), 0)
            graph.extend(self.snapshot)
            entry = graph.save(self.folder.path / f"{now.next_file:08d}{GRAPH}")
        self._publish(graph=entry, next_file=now.next_file + 1)
        self.folder.sweep(self.snapshot.manifest)

    def _graph(self, now: manifest.Manifest) -> Graph | None:
        if now.graph is None:
            return None
        try:
            return Graph.load(self.folder.path, now.graph, now.settings.pooled_dim, view=False)
        except VectorIndexError as error:
            logger.warning("%s; it is made anew from the pooled vectors", error)
            return None

    def _needed(self) -> list[int]:
        return [_needed(part) for part in self.snapshot.parts]

    def _rewrite(self, entries: Sequence[Entry]) -> None:
        """Merge these, unless that changes nothing."""
        chosen = [at for at, p in enumerate(self.snapshot.parts) if p.segment.entry in entries]
        some = [self.snapshot.parts[at] for at in chosen]
        if len(some) > 1 or any(part.documents < max(1, part.segment.documents) for part in some):
            self.merge(chosen)

    def _numbers(self, found: Places) -> NDArray[np.int64]:
        there = found.part >= 0
        return np.unique(self.snapshot.numbers(Places(found.part[there], found.row[there])))

    def _write(self, layout: Layout, parts: Parts) -> Entry:
        """The next file, by name."""
        now = self.snapshot.manifest
        self.snapshot = Snapshot(now.but(next_file=now.next_file + 1), self.snapshot.parts)
        return write_segment(self.folder.path / f"{now.next_file:08d}{SEGMENT}", layout, parts)

    def _publish(
        self,
        add: Sequence[Entry] = (),
        drop: set[Entry] | frozenset[Entry] = frozenset(),
        **changes: object,
    ) -> None:
        now = self.snapshot.manifest
        kept = tuple(entry for entry in now.segments if entry not in drop)
        manifest.publish(self.folder.path, now.but(segments=(*kept, *add), **changes))
        self.snapshot = Snapshot.of(self.folder.path, self.snapshot)


def _needed(part: Part) -> int:
    """Bytes of a segment that are not those of deleted documents, about."""
    counts = part.segment.layout.counts
    share = (part.documents + counts.kills) / max(1, counts.documents + counts.kills)
    return int(part.segment.entry.bytes * share)
