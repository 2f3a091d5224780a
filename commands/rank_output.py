"""What `rank` shows: a table for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from minireranker.engine.content import Query
from minireranker.engine.types import Ranking

__all__ = ["printable", "show_failed", "show_json", "show_text"]


def show_text(ranking: Ranking, documents: int, engine: str) -> None:
    """The ranking as a table and a line of times on stdout, what failed on stderr."""
    console = Console()
    if ranking.hits:
        console.print(_table(ranking))
    work, ranked = ranking.work, documents - len(ranking.failed)
    for line in (
        f"{len(ranking)} of {ranked} ranked documents; {_times(ranking)}",
        f"cache: {work.cache_hits} hits, {work.cache_misses} misses",
        printable(engine),
    ):
        console.print(Text(line, style="dim"), soft_wrap=True)
    show_failed(ranking)


def show_failed(ranking: Ranking) -> None:
    """One line on stderr for each document that could not be ranked, with its reason."""
    console = Console(stderr=True)
    for failed in ranking.failed:
        console.print(Text(f"failed: {printable(str(failed))}", style="red"), soft_wrap=True)


def show_json(query: Query, ranking: Ranking, model: str, profile: str) -> None:
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
        "failed": [
            {
                "index": failed.index,
                "id": failed.id,
                "error": type(failed.error).__name__,
                "reason": str(failed.error),
            }
            for failed in ranking.failed
        ],
        "timings": dataclasses.asdict(ranking.timings) | {"total": ranking.timings.total},
        "work": dataclasses.asdict(ranking.work),
    }
    typer.echo(json.dumps(answer, allow_nan=False))


def printable(text: str) -> str:
    """The text without control characters: a file name must not steer the terminal."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


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
