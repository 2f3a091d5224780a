"""`minireranker demo`: what this program does, on pictures drawn on the spot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from minireranker.bench.demo import Demo, Run

__all__ = ["demo"]

_Out = Annotated[Path, typer.Option(file_okay=False, help="A folder for everything that is made.")]
_Count = Annotated[int, typer.Option(min=4, help="How many pictures to draw.")]
_Seed = Annotated[int, typer.Option(min=0, help="Another number asks for something else.")]


def demo(out: _Out = Path("demo"), count: _Count = 100, seed: _Seed = 0) -> None:
    """Draw pictures, retrieve and rerank with the built-in models, check scores, write a report."""
    from minireranker.bench.demo import run_demo

    console, start = Console(), time.perf_counter()

    def say(line: str) -> None:
        passed = time.perf_counter() - start
        console.print(Text(f"{passed:6.1f} s  {line}"), soft_wrap=True)

    found = run_demo(out, count, seed, say)
    say("done")
    console.print(_table(found))
    _show(console, found)


def _table(found: Demo) -> Table:
    title = Text(f"“{found.query}”")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("", "pictures", "reading", "query", "those that fit, at"):
        table.add_column(name, justify="right" if table.columns else "left", no_wrap=True)
    table.add_row(
        "embedder",
        str(len(found.retrieved)),
        "",
        _milliseconds(found.retrieving),
        found.places(found.retrieved),
    )
    for name, run in (("reranker, dense", found.dense), ("reranker, mini", found.mini)):
        table.add_row(name, *_cells(run), found.places([hit.id for hit in run.ranking]))
    return table


def _cells(run: Run) -> tuple[str, str, str]:
    return str(len(run.ranking)), _milliseconds(run.reading), _milliseconds(run.seconds)


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms"


def _show(console: Console, found: Demo) -> None:
    """What failed, how exact it is, and where to look."""
    pictures = found.report.parent / "pictures"
    for line in (
        f"not ranked: {found.damaged}",
        f"{found.sampled} pictures scored as full sequences, without a cache: the largest "
        f"difference is {found.difference:.1e} of the spread of all scores",
        f"report: {found.report}",
        f'yours: minireranker rank "a large red star above a blue circle" {pictures} -m builtin',
    ):
        console.print(Text(line), soft_wrap=True)
