"""What `search` shows: hits and stages as tables for people, JSON for programs, a report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from minireranker.engine.content import Query
from minireranker.errors import ConfigurationError
from minireranker.retrieval.search_result import Hit, SearchResult, StageRecord

from .failures import show_failures
from .printable import printable
from .rank_output import failed_json, resampled

__all__ = ["check_report", "report", "show_json", "show_text"]


def show_text(result: SearchResult, facts: Mapping[str, Any]) -> None:
    """Two tables and what they are of on stdout, what failed on stderr."""
    console = Console()
    if result.hits:
        console.print(_hits(result))
        console.print()
    console.print(_stages(result))
    lines = [f"{len(result)} shown; {result.seconds:.2f} s"]
    lines += [
        f"vectors {folder['path']}: {folder['late']}, {folder['documents']:,} documents"
        for folder in facts["vectors"]
    ]
    for stage in result.stages:
        if stage.system == "reranker":
            hits, misses = stage.work.cache_hits, stage.work.cache_misses
            lines += [f"cache: {hits:,} hits, {misses:,} misses", *resampled(stage.work)]
    for line in (*lines, *filter(None, [facts["engine"]])):
        console.print(Text(printable(line), style="dim"), soft_wrap=True)
    _show_failed(result)


def show_json(query: Query, result: SearchResult, facts: Mapping[str, Any]) -> None:
    """Everything, each stage's candidates too, as one JSON object on stdout."""
    content = query.content
    answer = {
        "query": {
            "text": "\n".join(content.texts) or None,
            "image": os.fspath(content.images[0]) if content.images else None,
        },
        **{name: facts[name] for name in ("vectors", "model", "profile")},
        "results": [_hit_json(hit) for hit in result],
        "stages": [_stage_json(stage) for stage in result.stages],
        "failed": [
            {"stage": stage.name, **row}
            for stage in result.stages
            for row in failed_json(stage.failed)
        ],
        "seconds": result.seconds,
    }
    typer.echo(json.dumps(answer, allow_nan=False))


def check_report(path: Path | None) -> None:
    """Known before the search, not after. Raises ConfigurationError for what cannot be written."""
    if path is None:
        return
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(f"--html {path}: there is no folder {path.parent}; make it first")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise ConfigurationError(f"--html {path}: cannot be written to; name another file")


def report(
    path: Path, query: Query, result: SearchResult, facts: Mapping[str, Any], quiet: bool
) -> None:
    """Write the report; say where."""
    from minireranker.report.search import write_search_report

    folders = [f"{folder['path']} ({folder['late']})" for folder in facts["vectors"]]
    subtitle = "; ".join([*folders, *filter(None, [facts["engine"]])])
    write_search_report(path, query=query, result=result, subtitle=subtitle)
    typer.echo(f"report: {path}", err=quiet)


def _show_failed(result: SearchResult) -> None:
    """On stderr, which documents a stage could not score, and why."""
    show_failures(
        (f"failed in {stage.name}: {failed.id}", str(failed.error))
        for stage in result.stages
        for failed in stage.failed
    )


def _hits(result: SearchResult) -> Table:
    reranked = any(hit.probability is not None for hit in result)
    table = _table("rank", *(stage.name for stage in result.stages))
    if reranked:
        table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("document", overflow="fold")
    for hit in result:
        numbers = [f"{score:.4f}" for score in hit.scores.values()]
        if reranked:
            numbers.append("" if hit.probability is None else f"{hit.probability:.4f}")
        table.add_row(str(hit.rank), *numbers, Text(printable(_name(hit))))
    return table


def _stages(result: SearchResult) -> Table:
    table = _table("in", "out", "failed", "encode", "search")
    table.add_column("stage", no_wrap=True)
    for stage in result.stages:
        table.add_row(
            f"{stage.candidates:,}",
            f"{stage.kept:,}",
            f"{len(stage.failed):,}",
            f"{stage.encode_seconds:.3f} s",
            f"{stage.search_seconds:.3f} s",
            f"{stage.name} ({stage.system})",
        )
    return table


def _table(*numbers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _name(hit: Hit) -> str:
    """The file, where the document is all of one, from here if it is below; else the id."""
    file = (hit.source or {}).get("file")
    if not isinstance(file, str) or (hit.source or {}).get("detail"):
        return hit.id
    here = os.path.join(os.getcwd(), "")
    return file.removeprefix(here)


def _hit_json(hit: Hit) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "id": hit.id,
        "file": (hit.source or {}).get("file"),
        "score": _number(hit.score),
        "scores": {name: _number(score) for name, score in hit.scores.items()},
        "probability": hit.probability,
    }


def _stage_json(stage: StageRecord) -> dict[str, Any]:
    return {
        "name": stage.name,
        "system": stage.system,
        "candidates": stage.candidates,
        "kept": stage.kept,
        "failed": len(stage.failed),
        "cache_hits": stage.work.cache_hits,
        "cache_misses": stage.work.cache_misses,
        "encode_seconds": stage.encode_seconds,
        "search_seconds": stage.search_seconds,
        "ids": stage.ids.tolist(),
        "scores": [_number(score) for score in stage.scores.tolist()],
    }


def _number(score: float) -> float | None:
    """None for the -inf of a document without vectors: JSON has no such number."""
    return score if math.isfinite(score) else None
