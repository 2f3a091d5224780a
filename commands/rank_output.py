"""What `rank` shows: a table for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from minireranker.cache import CacheStats
from minireranker.engine.content import Query
from minireranker.engine.types import FailedDocument, Ranking, Work

from .failures import show_failures
from .printable import printable

__all__ = ["failed_json", "show_failed", "show_json", "show_text"]


def show_text(ranking: Ranking, documents: int, engine: str, cache: CacheStats) -> None:
    """The ranking as a table and a line of times on stdout, what failed on stderr."""
    console = Console()
    if ranking.hits:
        console.print(_table(ranking))
    work, ranked = ranking.work, documents - len(ranking.failed)
    for line in (
        f"{len(ranking)} of {ranked} ranked documents; {_times(ranking)}",
        f"cache: {work.cache_hits} hits, {work.cache_misses} misses{_tiers(cache)}",
        printable(engine),
        *resampled(work),
    ):
        console.print(Text(line, style="dim"), soft_wrap=True)
    show_failed(ranking.failed)


def resampled(work: Work) -> list[str]:
    """A line where importances came on another grid than the reranker's."""
    count = work.importances_resampled
    said = "importances resampled: the embedder reads images at another size than the reranker"
    return [f"{count} {said}"] if count else []


def show_failed(failed_documents: Sequence[FailedDocument]) -> None:
    """On stderr, which documents could not be read, and why."""
    show_failures((f"failed: {failed.name}", str(failed.error)) for failed in failed_documents)


def show_json(query: Query, ranking: Ranking, model: str, profile: str, cache: CacheStats) -> None:
    """The ranking as one JSON object on stdout, and nothing else there."""
    content = query.content
    answer: dict[str, Any] = {
        "query": {
            "text": "\n".join(content.texts) or None,
            "image": os.fspath(content.images[0]) if content.images else None,
            "video": os.fspath(content.videos[0]) if content.videos else None,
        },
        "model": model,
        "profile": profile,
        "results": [
            {
                "rank": rank,
                "index": hit.index,
                "id": hit.id,
                "score": hit.score,
                "probability": hit.probability,
            }
            for rank, hit in enumerate(ranking, 1)
        ],
        "failed": failed_json(ranking.failed),
        "timings": dataclasses.asdict(ranking.timings) | {"total": ranking.timings.total},
        "work": dataclasses.asdict(ranking.work),
        "cache": dataclasses.asdict(cache),
    }
    typer.echo(json.dumps(answer, allow_nan=False))


def failed_json(failed_documents: Sequence[FailedDocument]) -> list[dict[str, Any]]:
    """Which documents could not be read, and why."""
    return [
        {
            "index": failed.index,
            "id": failed.id,
            "error": type(failed.error).__name__,
            "reason": str(failed.error),
        }
        for failed in failed_documents
    ]


def _table(ranking: Ranking) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("rank", "score", "probability"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("id", overflow="fold")
    for rank, hit in enumerate(ranking, 1):
        name = printable(hit.id or f"document {hit.index}")
        table.add_row(f"{rank}", f"{hit.score:.4f}", f"{hit.probability:.4f}", Text(name))
    return table


def _times(ranking: Ranking) -> str:
    times = dataclasses.asdict(ranking.timings)
    stages = ", ".join(f"{name} {value:.2f}" for name, value in times.items())
    return f"{ranking.timings.total:.2f} s ({stages})"


def _tiers(cache: CacheStats) -> str:
    """In which tiers entries were found; nothing where there is only memory."""
    tiers = {"on disk": cache.disk, "in the remote store": cache.remote}
    below = [f"{tier.hits} {where}" for where, tier in tiers.items() if tier is not None]
    return f"; entries found: {cache.memory.hits} in memory, {', '.join(below)}" if below else ""
