"""``minireranker bench embedder``: vectors, and what importances cost on top of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .bench_output import (
    CheckpointOption,
    OutOption,
    SizeOption,
    check_target,
    clock,
    given_or_synthetic,
    write_result,
)


def embedder(
    model: CheckpointOption = None,
    size: SizeOption = "tiny",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "bfloat16",
    documents: Annotated[int, typer.Option(help="Images embedded.", min=1)] = 8,
    side: Annotated[int, typer.Option(help="Side of the square images, pixels.", min=64)] = 512,
    repeats: Annotated[int, typer.Option(help="Timings of each, in turns.", min=1)] = 5,
    out: OutOption = None,
) -> None:
    """Embed images with and without importances, after a comparison with transformers."""
    from minireranker.bench.embedder import EmbedderBench, run

    check_target(out)
    say = clock()
    with given_or_synthetic(model, size, say) as checkpoint:
        result = run(EmbedderBench(checkpoint, dtype, documents, side, repeats), say)
    say("done")
    _show(result)
    if out is not None:
        write_result(out, result)


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    agreement, costs = result["agreement"], result["costs"]
    count = result["workload"]["documents"]
    table = Table(title=f"embedder on {result['machine']['cpu']}", title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    for name, value in (
        ("cosine with transformers, float32", f"{agreement['cosine']:.7f}"),
        ("largest relative error of an importance", f"{agreement['importance_error']:.1e}"),
        ("tokens an image", str(result["workload"]["tokens"])),
        ("an image, plain", f"{result['seconds_plain'] / count:.3f} s"),
        ("with importances", f"{result['seconds_with_importances'] / count:.3f} s"),
        ("cost of importances, median of pairs", f"{100 * result['cost']:+.2f} %"),
        ("from .. to", f"{100 * min(costs):+.2f} .. {100 * max(costs):+.2f} %"),
    ):
        table.add_row(name, value)
    Console().print(table)
