"""``minireranker bench precision``: the pass in eight bits beside bfloat16."""

from __future__ import annotations

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

__all__ = ["precision"]


def precision(
    model: ModelOption = None,
    size: SizeOption = "tiny",
    profile: Annotated[str, typer.Option(help="Profile.")] = "mini",
    dtype: Annotated[
        list[str] | None,
        typer.Option(help="int8 (CPUs) or fp8 (CUDA), beside bfloat16; several times."),
    ] = None,
    candidates: Annotated[int, typer.Option(help="Documents.", min=2)] = 100,
    suffix: Annotated[int, typer.Option(help="Tokens of the query.", min=1)] = 40,
    prefix: Annotated[int, typer.Option(help="Tokens of a document.", min=1)] = 150,
    repeats: Annotated[int, typer.Option(help="Timings of each, in turns.", min=1)] = 5,
    out: OutOption = None,
) -> None:
    """The pass in eight bits beside bfloat16: seconds, and what it does to scores."""
    from minireranker.bench.precision import PrecisionBench, run

    check_target(out)
    say = clock()
    with given_or_synthetic(model, size, say) as checkpoint:
        dtypes = tuple(dtype or ("int8",))
        result = run(
            PrecisionBench(checkpoint, profile, dtypes, candidates, suffix, prefix, repeats), say
        )
    say("done")
    _show(result)
    if out is not None:
        write_result(out, result)


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    load, machine = result["workload"], result["machine"]
    title = (
        f"{load['model']}, {load['candidates']} pairs, on {machine['gpu'] or machine['cpu']}; "
        "errors against float32, over the spread of its scores"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in (
        "seconds",
        "speed-up",
        "of a pair of runs",
        "largest",
        "rms",
        "between",
        "top half",
        "product",
    ):
        table.add_column(name, justify="right")
    for name, row in result["precisions"].items():
        low, high = row["spread_of_speedup"]
        table.add_row(
            name,
            f"{row['seconds']:.3f}",
            f"{row['speedup']:.2f} x",
            f"{low:.2f} to {high:.2f}",
            f"{row['largest_error_of_spread']:.3f}",
            f"{row['rms_error_of_spread']:.3f}",
            f"{row['rms_error_between_documents']:.3f}",
            f"{100 * row['top_half_kept']:.0f} %",
            f"{result['product'][name] / 1e9:,.0f} GFLOP/s",
        )
    Console().print(table)
    share = 100 * result["share_of_gemm_rate"]
    Console().print(f"bfloat16 reaches {share:.1f} % of this machine's rate of products")
