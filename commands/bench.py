"""``minireranker bench …``: measure on this machine, print a table, write JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .bench_cache import cache, codecs
from .bench_compare import compare
from .bench_embedder import embedder
from .bench_kernels import kernels
from .bench_latency import latency
from .bench_maxsim import maxsim
from .bench_metaembed import metaembed
from .bench_output import check_target, clock, given_or_synthetic, write_result
from .bench_peers import peers
from .bench_precision import precision
from .bench_quality import quality
from .bench_scaling import scaling
from .bench_serving import serving
from .bench_train import train

app = typer.Typer(help="Measure on this machine.", no_args_is_help=True)
app.command()(latency)
app.command()(compare)
app.command()(codecs)
app.command()(cache)
app.command()(embedder)
app.command()(metaembed)
app.command()(maxsim)
app.command()(kernels)
app.command()(quality)
app.command()(precision)
app.command()(scaling)
app.command()(serving)
app.command()(train)
app.add_typer(peers, name="peers")


@app.command()
def engine(
    model: Annotated[
        Path | None,
        typer.Option(help="Checkpoint directory; without it a synthetic one is written."),
    ] = None,
    size: Annotated[
        str, typer.Option(help="Size of the synthetic checkpoint: tiny, 2b, 4b or 8b.")
    ] = "tiny",
    profile: Annotated[str, typer.Option(help="Profile of the reduced pass.")] = "mini",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "bfloat16",
    documents: Annotated[int, typer.Option(help="Images ranked.", min=2)] = 100,
    side: Annotated[int, typer.Option(help="Side of the square images, pixels.", min=64)] = 512,
    repeats: Annotated[int, typer.Option(help="Timed warm passes.", min=1)] = 3,
    sample: Annotated[int, typer.Option(help="Pairs timed on the dense model.", min=1)] = 3,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the result here as JSON.")
    ] = None,
) -> None:
    """One query against cached images: the reduced pass beside the dense model, in one run."""
    from minireranker.bench.engine import EngineBench, run

    check_target(out)
    say = clock()
    with given_or_synthetic(model, size, say) as checkpoint:
        bench = EngineBench(checkpoint, profile, dtype, documents, side, repeats, sample)
        result = run(bench, say, progress=None)
    say("done")
    _show(result)
    if out is not None:
        write_result(out, result)


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    mini, dense, memory = result["mini"], result["dense"], result["memory_bytes"]
    agreement, dtype = result["agreement"], result["workload"]["dtype"]
    table = Table(
        title=f"top-{dense['of_pairs']} on {result['machine']['cpu']}", title_justify="left"
    )
    table.add_column("what")
    table.add_column("measured", justify="right")
    sampled = f"{dense['sampled_pairs']} pairs of {dense['of_pairs']} timed, scaled"
    for name, value in (
        ("reduced pass, warm cache", f"{mini['seconds']:.3f} s"),
        (f"dense transformers ({sampled})", f"{dense['seconds']:.1f} s"),
        ("reduced / dense", f"{100 * result['mini_over_dense']:.2f} %"),
        ("matrix-product rate here", f"{mini['gemm_flop_per_second'] / 1e9:.0f} GFLOP/s"),
        ("share of it reached", f"{100 * mini['share_of_gemm_rate']:.1f} %"),
        ("index, a document", f"{mini['index_seconds'] / dense['of_pairs']:.2f} s"),
        ("peak memory", f"{memory['peak'] / 2**30:.2f} GiB"),
        ("beyond weights and cache", f"{memory['beyond_weights_and_cache'] / 2**30:.2f} GiB"),
        (
            "float32: difference to full sequence / spread",
            f"{agreement['float32_difference_of_spread']:.1e}",
        ),
        (f"{dtype}: error, ours", f"{agreement['error']:.1e}"),
        (f"{dtype}: error, full sequence", f"{agreement['full_sequence_error']:.1e}"),
    ):
        table.add_row(name, value)
    Console().print(table)
