"""``minireranker bench maxsim``: late-interaction scoring beside plain matrix products."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .bench_output import OutOption, check_target, clock, write_result


def maxsim(
    documents: Annotated[int, typer.Option(help="Documents.", min=1)] = 10_000,
    shortest: Annotated[int, typer.Option(help="Vectors a document, at least.", min=1)] = 64,
    longest: Annotated[int, typer.Option(help="Vectors a document, at most.", min=1)] = 832,
    dim: Annotated[int, typer.Option(help="Numbers a vector.", min=1)] = 128,
    queries: Annotated[int, typer.Option(help="Queries scored at once.", min=1)] = 1,
    tokens: Annotated[int, typer.Option(help="Vectors a query.", min=1)] = 32,
    dtypes: Annotated[
        str, typer.Option(help="Some of float32, bfloat16, float16, int8.")
    ] = "float32,bfloat16,int8",
    repeats: Annotated[int, typer.Option(help="Timings of each, in turns.", min=1)] = 7,
    out: OutOption = None,
) -> None:
    """Queries against documents of token vectors, and the rates of the products alone."""
    from minireranker.bench.maxsim import MaxsimBench, run

    check_target(out)
    say = clock()
    names = tuple(name.strip() for name in dtypes.split(",") if name.strip())
    sizes = documents, shortest, longest, dim, queries, tokens
    result = run(MaxsimBench(*sizes, names, repeats), say)
    say("done")
    _show(result)
    if out is not None:
        write_result(out, result)


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    load = result["workload"]
    title = (
        f"{load['queries']} x {load['tokens']} query vectors of {load['dim']}, "
        f"{load['documents']} documents of {load['shortest']}-{load['longest']}, "
        f"on {result['machine']['cpu']}"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("dtype")
    for name in ("ms", "GFLOP/s", "of same shape", "of square", "extra MiB", "error"):
        table.add_column(name, justify="right")
    for dtype, row in result["dtypes"].items():
        extra = row["extra_bytes"]
        table.add_row(
            dtype,
            f"{1e3 * row['median_seconds']:.0f}",
            f"{row['flop_per_second']['maxsim'] / 1e9:.0f}",
            f"{100 * row['share_of_same_shape']:.0f} %",
            f"{100 * row['share_of_square']:.0f} %",
            "?" if extra is None else f"{extra / 2**20:.0f}",
            f"{row['error_of_largest_score']:.0e}",
        )
    table.caption = (
        "ms: median; rates: the best of each. same shape: one product of all vectors and the query "
        f"vectors; square: {result['square']} x {result['square']} matrices; extra: peak of "
        "resident memory of the process itself; error: of the largest score"
    )
    Console().print(table)
