"""``minireranker bench scaling``: what a pair costs as each number of a workload grows."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .bench_output import (
    ModelOption,
    OutOption,
    PngOption,
    SizeOption,
    check_target,
    clock,
    given_or_synthetic,
    write_result,
)

__all__ = ["scaling"]


def scaling(
    model: ModelOption = None,
    size: SizeOption = "tiny",
    profile: Annotated[str, typer.Option(help="Profile.")] = "mini",
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16, int8 (CPUs) or fp8 (CUDA).")
    ] = "bfloat16",
    axis: Annotated[
        list[str] | None,
        typer.Option(help="candidates, suffix, prefix or queries; several times. Default: all."),
    ] = None,
    most: Annotated[int, typer.Option(help="Leave out values above.", min=1)] = 10_000,
    repeats: Annotated[int, typer.Option(help="Timings of each.", min=1)] = 3,
    out: OutOption = None,
    png: PngOption = None,
) -> None:
    """Seconds of a pair over candidates, tokens of either side, and queries on shared documents."""
    from minireranker.bench.scaling import AXES, ScalingBench, run
    from minireranker.bench.scaling_chart import draw_scaling

    check_target(out)
    check_target(png, "--png")
    say = clock()
    with given_or_synthetic(model, size, say) as checkpoint:
        axes = tuple(axis or AXES)
        result = run(ScalingBench(checkpoint, profile, dtype, axes, most, repeats), say)
    say("done")
    _show(result)
    if out is not None:
        write_result(out, result)
    if png is not None:
        png.parent.mkdir(parents=True, exist_ok=True)
        draw_scaling(result, png)
        typer.echo(f"written: {png}", err=True)


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    load, machine = result["workload"], result["machine"]
    title = f"{load['model']}, {load['precision']}, on {machine['gpu'] or machine['cpu']}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("varied", "candidates", "query", "document", "queries", "seconds", "ms a pair"):
        table.add_column(name, justify="left" if name == "varied" else "right")
    for axis, rows in result["axes"].items():
        table.add_section()
        for row in rows:
            shape = (row["candidates"], row["suffix"], row["prefix"], row["queries"])
            times = f"{row['seconds']:.3f}", f"{1e3 * row['seconds_a_pair']:.3g}"
            table.add_row(axis, *(f"{number:,}" for number in shape), *times)
    Console().print(table)
    growth = result["largest_growth_with_candidates"]
    if growth is not None:
        typer.echo(f"a pair costs at most {growth:.2f} x with more candidates than with fewer")
