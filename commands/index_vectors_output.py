"""What `index --vectors` did: for people, for programs, and line by line for a manifest."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text

from minireranker.engine.types import Indexed
from minireranker.retrieval.built import Built

from .index_output import IndexRun
from .printable import printable
from .quantities import counted, shown_bytes
from .rank_output import failed_json, show_failed

if TYPE_CHECKING:
    from minireranker.engine import Document

__all__ = ["VectorRun", "show_json", "show_text"]


@dataclass(frozen=True)
class VectorRun:
    """One run over a corpus."""

    built: Built
    facts: dict[str, Any]
    """Folder, encoder, model, and ``facts_of`` the engine if there is one."""
    vector_bytes: dict[str, int]
    """Of the index by part, after the run."""
    sizes: dict[str, int]
    """Bytes of the reranker's entries by key, after the run."""
    written: int
    """Bytes of those that were not there before."""
    deleted: int
    seconds: float
    """Of reading, writing and deleting, without loading models."""

    @property
    def indexed(self) -> int:
        """Documents that can be found by search now."""
        return sum(name is not None for name in self.built.ids)

    @property
    def unkept(self) -> int:
        """Entries of the reranker that its folder does not hold now."""
        return sum(key not in self.sizes for key in {key for key in self.built.keys if key})

    def summary(self) -> dict[str, Any]:
        """Facts and counts."""
        built = self.built
        counts = {
            "documents": len(built),
            "indexed": self.indexed,
            "encoded": built.encoded,
            "unchanged": built.unchanged,
            "failed": len(built.failed),
            "deleted": self.deleted,
            "vector_bytes": sum(self.vector_bytes.values()),
            "vector_bytes_by_part": self.vector_bytes,
        }
        entries = {
            "cached": built.work.cache_hits,
            "read": built.work.cache_misses,
            "unkept": self.unkept,
            "bytes_written": self.written,
        }
        times = {
            "seconds": self.seconds,
            "seconds_by_stage": dataclasses.asdict(built.times),
            "documents_per_second": len(built) / self.seconds,
        }
        return {**self.facts, **counts, **(entries if self.has_entries else {}), **times}

    @property
    def has_entries(self) -> bool:
        """Whether there was a reranker."""
        return self.facts["model"] is not None

    def rows(self, documents: Sequence[Document]) -> Iterator[dict[str, Any]]:
        """One a document, as of ``IndexRun``."""
        built = self.built
        found = Indexed(built.ids, built.failed, built.timings, built.work, built.keys)
        run = IndexRun(found, self.facts, self.sizes, self.written, self.deleted, self.seconds)
        return run.rows(documents)


def show_text(run: VectorRun) -> None:
    """Counts, sizes and throughput on stdout, what failed on stderr."""
    console = Console()
    for line in _lines(run):
        console.print(Text(printable(line)), soft_wrap=True)
    if run.unkept:
        lost = counted(run.unkept, "entry is", "entries are")
        say = f"{lost} not in the cache: give it more room (see cache info), then index again"
        console.print(Text(say, style="yellow"), soft_wrap=True)
    show_failed(run.built.failed)


def show_json(run: VectorRun) -> None:
    """Everything but the documents that went well, as one JSON object on stdout."""
    answer = {**run.summary(), "failed": failed_json(run.built.failed)}
    typer.echo(json.dumps(answer, allow_nan=False))


def _lines(run: VectorRun) -> Iterator[str]:
    told = run.summary()
    speed = f"{told['documents_per_second']:.1f} documents/s"
    forgotten = f", {run.deleted} forgotten" if run.deleted else ""
    yield f"indexed {run.indexed} of {len(run.built)} documents in {run.seconds:.1f} s ({speed})"
    yield (
        f"{told['encoded']} were encoded, {told['unchanged']} had not changed, {told['failed']} "
        f"failed{forgotten}"
    )
    count = told["vectors_in_index"]
    each = f", {shown_bytes(told['vector_bytes'] // count)} each" if count else ""
    yield (
        f"vectors {told['vectors']}: {told['late']}, {told['vector_dtype']}, "
        f"{counted(count, 'document', 'documents')}, {shown_bytes(told['vector_bytes'])}{each}"
    )
    if run.has_entries:
        yield (
            f"cache {told['cache']}: {told['cached']} were cached, {told['read']} read, "
            f"{shown_bytes(run.written)} written, namespace {told['namespace'][:12]}"
        )
