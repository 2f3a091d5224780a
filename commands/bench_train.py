"""``minireranker bench train``: steps a second, reduced beside dense, shared beside unshared."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .bench_output import (
    CheckpointOption,
    OutOption,
    check_target,
    clock,
    given_or_synthetic,
    write_result,
)

__all__ = ["train"]

_MEDIUM = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 28,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "rope_scaling": {"mrope_section": [6, 5, 5]},
}
"""A decoder as deep as the 2B one that a CPU trains in seconds."""


def train(
    model: CheckpointOption = None,
    size: Annotated[
        str, typer.Option(help="Size of the synthetic checkpoint: medium, tiny, 2b, 4b or 8b.")
    ] = "medium",
    profile: Annotated[str, typer.Option(help="Profile of the reduced form.")] = "mini",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    documents: Annotated[int, typer.Option(help="Images of a batch.", min=1)] = 1,
    queries: Annotated[int, typer.Option(help="Queries an image.", min=1)] = 8,
    side: Annotated[int, typer.Option(help="Side of the square images, pixels.", min=64)] = 640,
    repeats: Annotated[int, typer.Option(help="Steps of each, in turns.", min=1)] = 3,
    recompute: Annotated[bool, typer.Option("--recompute", help="Gradient checkpointing.")] = False,
    out: OutOption = None,
) -> None:
    """Time LoRA steps on the same pairs: dense and reduced, each with and without sharing."""
    from minireranker.bench.train import TrainBench, run

    check_target(out)
    say = clock()
    config: dict[str, Any] = {"base": "tiny", "text": _MEDIUM} if size == "medium" else {}
    with given_or_synthetic(model, size, say, **config) as checkpoint:
        bench = TrainBench(
            checkpoint,
            profile,
            dtype,
            documents,
            queries,
            side,
            repeats=repeats,
            recompute=recompute,
        )
        result = run(bench, say)
    say("done")
    _show(result)
    if out is not None:
        write_result(out, result)


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    work = result["workload"]
    table = Table(
        title=f"{work['pairs']} pairs a step on {result['machine']['cpu']}", title_justify="left"
    )
    table.add_column("what")
    for name in ("features kept", "tower each step"):
        table.add_column(name, justify="right")
    kept, cold = result["features_kept"], result["tower_each_step"]
    for name in kept["seconds_a_step"]:
        rates = (
            len(t["seconds_a_step"][name]) / sum(t["seconds_a_step"][name]) for t in (kept, cold)
        )
        table.add_row(f"{name}, steps a second", *(f"{rate:.3f}" for rate in rates))
    for name, text in (
        ("mini_over_dense_unshared", "mini / dense, unshared"),
        ("mini_over_dense_shared", "mini / dense, shared"),
        ("sharing_mini", "shared / unshared, mini"),
        ("sharing_dense", "shared / unshared, dense"),
        ("all_together", "mini shared / dense unshared"),
    ):
        table.add_row(text, f"{kept[name]:.2f} x", f"{cold[name]:.2f} x")
    Console().print(table)
