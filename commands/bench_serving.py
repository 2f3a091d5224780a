"""``minireranker bench serving``: the sidecar at its capacity, and at a multiple of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .bench_output import OutOption, check_target, clock, write_result

__all__ = ["serving"]


def serving(
    model: Annotated[str, typer.Option(help="A checkpoint directory, or builtin.")] = "builtin",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Of the CPU. Default: what the server takes.", min=1)
    ] = None,
    clients: Annotated[int, typer.Option(help="Clients at a time, of overload.", min=1)] = 64,
    seconds: Annotated[float, typer.Option(help="Of overload.", min=1.0)] = 300.0,
    overload: Annotated[float, typer.Option(help="Times the capacity.", min=0.1)] = 2.0,
    per_request: Annotated[int, typer.Option(help="Documents of a request.", min=1)] = 16,
    queue: Annotated[int, typer.Option(help="Documents that may wait.", min=1)] = 1_024,
    queue_seconds: Annotated[
        float | None, typer.Option(help="Work that may wait, in seconds. Default: any.", min=0.001)
    ] = None,
    out: OutOption = None,
) -> None:
    """Requests through a server against the same ones in-process; then more than it can take."""
    from minireranker.bench.serving import ServingBench, run

    check_target(out)
    say = clock()
    bench = ServingBench(
        model=model,
        dtype=dtype,
        threads=threads,
        clients=clients,
        seconds=seconds,
        overload=overload,
        per_request=per_request,
        queue_documents=queue,
        queue_seconds=queue_seconds,
    )
    result = run(bench, say)
    say("done")
    _show(result)
    if out is not None:
        write_result(out, result)


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    capacity, overload = result["capacity"], result["overload"]
    alone = result["in_process_cpu_seconds_per_document"]
    table = Table(title=f"sidecar on {result['machine']['cpu']}", title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    growth = overload["resident_growth"]
    for name, value in (
        ("in-process", f"{result['in_process_documents_per_second']:.0f} documents/s"),
        ("through the server", f"{capacity['documents_per_second']:.0f} documents/s"),
        ("share of in-process, in turns", _share(result)),
        (
            "CPU a document, in-process",
            _milliseconds(alone),
        ),
        ("CPU a document, server", _milliseconds(capacity["server_cpu_seconds_per_document"])),
        ("offered", f"{overload['offered_documents_per_second']:.0f} documents/s"),
        ("delivered meanwhile", f"{overload['documents_per_second']:.0f} documents/s"),
        *((f"calls: {name}", f"{count}") for name, count in overload["outcomes"].items()),
        ("admitted: p50", f"{overload['latency_seconds']['p50']:.3f} s"),
        ("admitted: p99", f"{overload['latency_seconds']['p99']:.3f} s"),
        ("bound on p99: queue + 3 x service", f"{overload['p99_bound_seconds']:.3f} s"),
        ("longest queue seen", f"{overload['queue_documents_max']} documents"),
        ("growth of resident memory", "unknown" if growth is None else f"{100 * growth:.1f} %"),
        ("exit code after SIGTERM", f"{result['exit_code']}"),
    ):
        table.add_row(name, value)
    Console().print(table)


def _share(result: dict[str, Any]) -> str:
    low, high = (100 * limit(result["shares"]) for limit in (min, max))
    return f"{100 * result['share_of_in_process']:.1f} % ({low:.1f} to {high:.1f})"


def _milliseconds(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{1_000 * seconds:.2f} ms"
