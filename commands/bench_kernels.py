"""``minireranker bench kernels``: the backends of band attention beside each other."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from minireranker.errors import ConfigurationError

from .bench_output import OutOption, check_target, clock, write_result


def kernels(
    prefix: Annotated[
        str, typer.Option(help="Mean tokens a document: a call for each, such as 64,330,1300.")
    ] = "150",
    queries: Annotated[
        str, typer.Option(help="Queries a document: a call for each, such as 1,8.")
    ] = "1",
    documents: Annotated[int, typer.Option(help="Documents.", min=1)] = 100,
    suffix: Annotated[int, typer.Option(help="Own tokens of a query.", min=1)] = 40,
    header: Annotated[int, typer.Option(help="Tokens that all share.", min=0)] = 20,
    last: Annotated[
        bool, typer.Option(help="Also the last layer: one token a query attends.")
    ] = True,
    heads: Annotated[int, typer.Option(help="Query heads.", min=1)] = 16,
    kv_heads: Annotated[int, typer.Option(help="K/V heads.", min=1)] = 8,
    head_dim: Annotated[int, typer.Option(help="Numbers a head.", min=1)] = 128,
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float16 or float32.")] = "auto",
    numbers: Annotated[
        str, typer.Option(help="Of the documents: exact (the dtype), int8 or float8_e4m3fn.")
    ] = "exact",
    backends: Annotated[
        str, typer.Option(help="Some of those there are; without it all but the reference.")
    ] = "",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cold: Annotated[
        bool, typer.Option(help="Overwrite a GPU's L2 cache before each timing.")
    ] = False,
    repeats: Annotated[int, typer.Option(help="Timings of each, in turns.", min=1)] = 9,
    out: OutOption = None,
) -> None:
    """Attention over cached documents: each backend's time, its error, and its share of the floor.

    A backend whose output is wrong is not timed; the exit status is then 1.
    """
    from minireranker.bench.kernels import KernelsBench, check_outputs, run
    from minireranker.bench.kernels_calls import Heads

    check_target(out)
    say = clock()
    bench = KernelsBench(
        prefixes=_counts(prefix, "--prefix"),
        queries=_counts(queries, "--queries"),
        last=last,
        documents=documents,
        suffix=suffix,
        header=header,
        heads=Heads(heads, kv_heads, head_dim),
        dtype=dtype,
        numbers=numbers,
        backends=tuple(name.strip() for name in backends.split(",") if name.strip()),
        device=device,
        repeats=repeats,
        cold=cold,
    )
    result = run(bench, say)
    say("done")
    _show(result)
    if out is not None:
        write_result(out, result)
    check_outputs(result)


def _counts(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigurationError(f"{option} {text!r}: give whole numbers, as in 64,330") from None


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console

    console, machine = Console(), result["machine"]
    on = machine["cpu"] if result["device"] == "cpu" else machine["gpu"]
    rates = result["rates"]
    console.print(
        f"{result['dtype']} on {on}: copies {rates['copy_bytes_per_second'] / 1e9:.0f} GB/s, "
        f"multiplies {rates['gemm_flop_per_second'] / 1e9:.0f} GFLOP/s",
        highlight=False,
        soft_wrap=True,
    )
    for call in result["calls"]:
        floors = call["floor_seconds"]
        bound = max(floors, key=floors.__getitem__)
        title = (
            f"\n{call['name']}: floor {1e3 * floors[bound]:.3g} ms ({bound}), error allowed "
            f"{call['allowed_error']:.1e}"
        )
        console.print(title, highlight=False, soft_wrap=True)
        console.print(_table(call["backends"], queued=result["device"] != "cpu"))
    for name, reason in _sentences(result):
        console.print(f"not timed: {name}: {reason}", highlight=False, soft_wrap=True)


def _sentences(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Why something was not timed, each once."""
    groups = [result["unavailable"]]
    groups += [call[kind] for call in result["calls"] for kind in ("refused", "wrong")]
    return list(dict.fromkeys(pair for group in groups for pair in group.items()))


def _table(rows: dict[str, Any], *, queued: bool) -> Any:
    """``queued``: with the host's time, where that is another."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("backend")
    host = ("queued in ms",) if queued else ()
    for name in ("ms", *host, "GFLOP/s", "K/V GB/s", "of floor", "error"):
        table.add_column(name, justify="right")
    for name, row in rows.items():
        table.add_row(
            name,
            f"{1e3 * row['median_seconds']:.3g}",
            *(f"{1e3 * row['median_host_seconds']:.3g}" for _ in host),
            f"{row['flop_per_second'] / 1e9:.0f}",
            f"{row['kv_bytes_per_second'] / 1e9:.1f}",
            f"{100 * row['share_of_floor']:.0f} %",
            f"{row['error']:.1e}",
        )
    return table
