"""What `index` did: for people, for programs, and line by line for a manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text

from .printable import printable
from .quantities import counted, shown_bytes
from .rank_output import failed_json, show_failed

if TYPE_CHECKING:
    from minireranker.engine import Document, Indexed, Reranker

__all__ = ["IndexRun", "facts_of", "show_json", "show_text"]


def facts_of(reranker: Reranker) -> dict[str, Any]:
    """What the entries depend on, and where they lie."""
    assert reranker.cache.disk is not None, "it was opened with a folder"
    return {
        "profile": reranker.profile.name,
        "dtype": str(reranker.state.model.dtype).removeprefix("torch."),
        "codec": reranker.cache.codec,
        "keep_ratio": reranker.profile.keep_ratio,
        "embedder": reranker.embedder.checkpoint.name if reranker.embedder else None,
        "namespace": reranker.namespace.name,
        "cache": str(reranker.cache.disk.path),
    }


@dataclass(frozen=True)
class IndexRun:
    """One run over a corpus."""

    found: Indexed
    facts: dict[str, Any]
    """Model, instruction, and ``facts_of`` the engine."""
    sizes: dict[str, int]
    """Bytes of the folder's entries by key, after the run."""
    written: int
    """Bytes of those that were not there before."""
    deleted: int
    seconds: float
    """Of reading and deleting, without loading the model."""

    @property
    def indexed(self) -> int:
        """Documents that can be ranked by their ids now."""
        return sum(name is not None for name in self.found.ids)

    def summary(self) -> dict[str, Any]:
        """Facts and counts."""
        work = self.found.work
        return {
            **self.facts,
            "documents": len(self.found),
            "indexed": self.indexed,
            "cached": work.cache_hits,
            "read": work.cache_misses,
            "failed": len(self.found.failed),
            "unkept": self.unkept,
            "deleted": self.deleted,
            "bytes_written": self.written,
            "seconds": self.seconds,
            "documents_per_second": len(self.found) / self.seconds,
        }

    @property
    def unkept(self) -> int:
        """Entries read or found in this run that the folder does not hold now."""
        return sum(key not in self.sizes for key in {key for key in self.found.keys if key})

    def rows(self, documents: Sequence[Document]) -> Iterator[dict[str, Any]]:
        """One a document: id, key, bytes, source, error, as far as it has them."""
        reasons = {failed.index: failed for failed in self.found.failed}
        for index, document in enumerate(documents):
            name, key, failed = self.found.ids[index], self.found.keys[index], reasons.get(index)
            row = {
                "id": str(name) if name is not None else document.id,
                "key": key,
                "bytes": self.sizes.get(key) if key else None,
                "source": _source(document),
                "error": f"{type(failed.error).__name__}: {failed.error}" if failed else None,
            }
            yield {name: value for name, value in row.items() if value is not None}


def show_text(run: IndexRun) -> None:
    """Counts and throughput on stdout, what failed on stderr."""
    console, told = Console(), run.summary()
    speed = f"{told['documents_per_second']:.1f} documents/s"
    size, rate = shown_bytes(run.written), shown_bytes(int(run.written / run.seconds))
    forgotten = f", {run.deleted} forgotten" if run.deleted else ""
    for line in (
        f"indexed {run.indexed} of {len(run.found)} documents in {run.seconds:.1f} s ({speed})",
        f"{told['cached']} were cached, {told['read']} read, {told['failed']} failed{forgotten}",
        f"{size} written ({rate}/s)",
        f"cache {told['cache']}, namespace {told['namespace'][:12]}",
    ):
        console.print(Text(printable(line)), soft_wrap=True)
    if run.indexed and not any(run.found.keys):
        say = "this profile reads the query first and keeps no entry of a document"
        console.print(Text(say, style="yellow"), soft_wrap=True)
    if run.unkept:
        lost = counted(run.unkept, "entry is", "entries are")
        say = f"{lost} not in the folder: give it more room (see cache info), then index again"
        console.print(Text(say, style="yellow"), soft_wrap=True)
    show_failed(run.found.failed)


def show_json(run: IndexRun) -> None:
    """Everything but the documents that went well, as one JSON object on stdout."""
    answer = {**run.summary(), "failed": failed_json(run.found.failed)}
    typer.echo(json.dumps(answer, allow_nan=False))


def _source(document: Document) -> str | None:
    """The file a document is read from, if it is one file."""
    content = document.content
    sources = [*content.images, *content.videos]
    if len(sources) != 1:
        return None
    path = getattr(sources[0], "made_from", (sources[0],))[0]
    return os.fspath(path) if isinstance(path, str | os.PathLike) else None
