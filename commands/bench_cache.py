"""``minireranker bench codecs`` and ``bench cache``: what entries cost, and what codecs do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .bench_output import (
    ModelOption,
    OutOption,
    SizeOption,
    check_target,
    clock,
    given_or_synthetic,
    write_result,
)


def codecs(
    model: ModelOption = None,
    size: SizeOption = "tiny",
    profile: Annotated[str, typer.Option(help="Profile.")] = "mini",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "bfloat16",
    queries: Annotated[int, typer.Option(help="Queries.", min=1)] = 200,
    documents: Annotated[int, typer.Option(help="Images.", min=2)] = 100,
    side: Annotated[int, typer.Option(help="Side of the square images, pixels.", min=64)] = 256,
    scenes: Annotated[
        bool, typer.Option(help="Drawn scenes, which the built-in model knows, instead of noise.")
    ] = False,
    float32: Annotated[
        bool, typer.Option(help="Also compare the model's own dtype with float32.")
    ] = False,
    out: OutOption = None,
) -> None:
    """Scores and ranks under every cache codec beside the exact ones."""
    from minireranker.bench.codecs import CodecBench, run

    check_target(out)
    say = clock()
    with given_or_synthetic(model, size, say) as checkpoint:
        bench = CodecBench(
            *(checkpoint, profile, dtype, queries, documents, side),
            scenes=scenes,
            float32=float32,
        )
        result = run(bench, say)
    say("done")
    _show_codecs(result)
    if out is not None:
        write_result(out, result)


def cache(
    folder: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="On the disk to measure.")
    ] = Path(),
    size: Annotated[str, typer.Option(help="Geometry of the entries: 2b, 4b or 8b.")] = "2b",
    codec: Annotated[str, typer.Option(help="exact, bf16, fp8, int8 or int4.")] = "int8",
    tokens: Annotated[int, typer.Option(help="Tokens an entry.", min=1)] = 150,
    entries: Annotated[int, typer.Option(help="Entries.", min=1)] = 100,
    repeats: Annotated[int, typer.Option(help="Timings of each, in turns.", min=1)] = 9,
    out: OutOption = None,
) -> None:
    """Entries cold from a disk beside a raw read of the same files, and warm from memory."""
    from minireranker.bench.cache import CacheBench, run

    check_target(out)
    say = clock()
    result = run(CacheBench(folder, size, codec, tokens, entries, repeats), say)
    say("done")
    _show_cache(result)
    if out is not None:
        write_result(out, result)


def _show_codecs(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    load = result["workload"]
    title = (
        f"{load['queries']} queries x {load['documents']} images, {load['model']}, "
        f"{load['dtype']}, on {result['machine']['cpu']}"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("codec")
    for name in ("KiB/token", "decode", "query", "delta", "rms"):
        table.add_column(name, justify="right")
    for name in ("top 10", "first", "order"):
        table.add_column(name, justify="right")
    for codec, row in result["codecs"].items():
        cost = f"{row['bytes_a_token'] / 1024:.2f}", f"{1e3 * row['decode_seconds']:.0f} ms"
        whole = f"{row['seconds_a_query']:.2g} s"
        table.add_row(codec, *cost, whole, *_differences(row))
    if result["own_dtype_against_float32"] is not None:
        table.add_section()
        row = result["own_dtype_against_float32"]
        table.add_row("own dtype", "", "", "", *_differences(row))
    table.caption = (
        "delta: largest difference to the exact scores; rms: of all, over the spread of a "
        "query's scores; top 10: share kept; first, order: queries whose best, whose ten best in "
        "their order, are the same"
    )
    Console().print(table)


def _differences(row: dict[str, float]) -> list[str]:
    shares = (f"{100 * row[name]:.1f}%" for name in ("top_overlap", "same_first", "same_top"))
    return [f"{row['largest_delta']:.2g}", f"{row['of_spread']:.2g}", *shares]


def _show_cache(result: dict[str, Any]) -> None:
    import statistics

    from rich.console import Console
    from rich.table import Table

    load = result["workload"]
    raw, cold = (statistics.median(result[name]) for name in ("raw_seconds", "cold_seconds"))
    table = Table(
        title=f"{load['entries']} entries of {load['tokens']} tokens, {load['size']} in "
        f"{load['codec']}, "
        f"{result['bytes'] / 2**20:.0f} MiB, on {result['machine']['cpu']}",
        title_justify="left",
    )
    table.add_column("what")
    table.add_column("median", justify="right")
    table.add_row("raw sequential read, cold", f"{1e3 * raw:.0f} ms")
    table.add_row("through the cache, cold", f"{1e3 * cold:.0f} ms")
    table.add_row("cache / raw", f"{result['cold_over_raw']:.2f}")
    warm = 1e3 * result["warm_decode_seconds"]
    table.add_row("from memory, decoded", f"{warm:.0f} ms")
    Console().print(table)
