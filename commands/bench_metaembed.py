"""``minireranker bench metaembed``: what MetaEmbed's dial costs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .bench_output import OutOption, check_target, clock, write_result


def metaembed(
    folder: Annotated[
        Path,
        typer.Option(exists=True, file_okay=False, help="On the disk an index would be on."),
    ] = Path(),
    candidates: Annotated[int, typer.Option(help="Candidates, 64 vectors each.", min=1)] = 100_000,
    dim: Annotated[
        int, typer.Option(help="Width: 2048 is Qwen3-VL 2B, 3584 the paper's 7B.", min=1)
    ] = 2_048,
    dtype: Annotated[str, typer.Option(help="Of the index: int8, bfloat16 or float32.")] = "int8",
    queries: Annotated[int, typer.Option(help="Queries scored at once.", min=1)] = 1,
    repeats: Annotated[int, typer.Option(help="Timings of each group.", min=1)] = 5,
    out: OutOption = None,
) -> None:
    """Scoring every candidate in each of MetaEmbed's groups, and the index bytes of each."""
    from minireranker.bench.metaembed import MetaEmbedBench, run

    check_target(out)
    say = clock()
    result = run(MetaEmbedBench(folder, candidates, dim, dtype, queries, repeats), say)
    say("done")
    _show(result)
    if out is not None:
        write_result(out, result)


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    load = result["workload"]
    title = (
        f"{load['queries']} x {load['candidates']} candidates, {load['dim']} wide, "
        f"{load['dtype']}, on {result['machine']['cpu']}"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("group")
    for name in ("index bytes", "scored", "as prefix of 64", "paper, A100", "paper, index", "MMEB"):
        table.add_column(name, justify="right", overflow="fold")
    for name, row in result["groups"].items():
        paper = result["paper"][name]
        table.add_row(
            f"({name})",
            f"{row['index_bytes']:,}",
            _time(row["own_index"]),
            _time(row["prefix_of_64"]),
            _known(paper["milliseconds"], " ms"),
            _known(paper["gib"], " GiB"),
            _known(paper["mmeb"], ""),
        )
    table.caption = (
        "paper: MetaEmbed 7B, 100 000 candidates of 3584 bfloat16; * more than 1 % of the bytes "
        "came from the disk: the page cache did not hold them"
    )
    Console().print(table)


def _time(timed: dict[str, Any]) -> str:
    return f"{1e3 * timed['seconds']:.1f} ms{'*' if timed['from_disk'] else ''}"


def _known(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:g}{unit}"
