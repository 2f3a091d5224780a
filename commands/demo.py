"""`minireranker demo`: what this program does, on files drawn on the spot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from minireranker.bench.demo import Demo

__all__ = ["demo"]

_Out = Annotated[Path, typer.Option(file_okay=False, help="A folder for everything that is made.")]
_Count = Annotated[int, typer.Option(min=2, help="How many files to draw.")]
_Seed = Annotated[int, typer.Option(help="Another number draws other files.")]


def demo(out: _Out = Path("demo"), count: _Count = 100, seed: _Seed = 0) -> None:
    """Draw files, rank them twice with a tiny random model, check the scores, write a report."""
    from minireranker.bench.demo import RANDOM_WEIGHTS, run_demo

    console, start = Console(), time.perf_counter()
    console.print(Panel(RANDOM_WEIGHTS, border_style="yellow", width=min(console.width, 100)))

    def say(line: str) -> None:
        passed = time.perf_counter() - start
        console.print(Text(f"{passed:6.1f} s  {line}"), soft_wrap=True)

    found = run_demo(out, count, seed, say)
    say("done")
    console.print(_times(found))
    _show(console, found)


def _times(found: Demo) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "reading", "documents", "query", "pairs", "total", "hits", "misses"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    runs = {"cache empty": found.cold, "filled": found.warm, "indexed": found.indexed}
    for name, run in runs.items():
        times = run.timings
        stages = (times.inputs, times.prefix, times.suffix, times.pairs, times.total)
        cells = [f"{1000 * value:,.0f} ms" for value in stages]
        table.add_row(name, *cells, str(run.work.cache_hits), str(run.work.cache_misses))
    return table


def _show(console: Console, found: Demo) -> None:
    """What was ranked, what failed, how exact it is, and where to look."""
    lines = [f"ranked {len(found.warm)} files; could not rank {len(found.warm.failed)}:"]
    lines += [f"  {failed}" for failed in found.warm.failed]
    lines.append(
        f"{found.sampled} files scored as full sequences, without a cache: the largest difference "
        f"is {found.difference:.1e} of the spread of all scores"
    )
    lines.append(f"report: {found.report}")
    for line in lines:
        console.print(Text(line), soft_wrap=True)
