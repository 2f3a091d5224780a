"""``minireranker bench latency``: seconds of a query, beside peers, on this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from .client_connection import TOKEN_VARIABLE

if TYPE_CHECKING:
    from minireranker.bench.latency import LatencyBench

__all__ = ["latency"]

_INTERRUPTED = 130

_PANEL = "How much"
_One = Annotated[int | None, typer.Option(min=1, rich_help_panel=_PANEL)]
_Two = Annotated[int | None, typer.Option(min=2, rich_help_panel=_PANEL)]


def latency(
    workload: Annotated[
        str, typer.Option("--workload", "-w", help="By name (--list), custom, or a TOML file.")
    ] = "coco-t2i",
    listed: Annotated[bool, typer.Option("--list", help="Show the workloads and end.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a field of the workload: width=1024; several times."),
    ] = None,
    model: ModelOption = None,
    size: SizeOption = "tiny",
    profile: Annotated[str, typer.Option(help="Profile.")] = "mini",
    embedder: Annotated[
        str | None,
        typer.Option(help="Whose attention prunes images; else their importances are random."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, int8 or fp8.")] = "auto",
    mode: Annotated[
        list[str] | None,
        typer.Option(help="offline, single, closed or open; several times. Default: the first two"),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(help="Clients of closed; served at once in open.", min=1)
    ] = 4,
    rate: Annotated[
        float | None,
        typer.Option(help="Of open, queries a second. Default: 70 % of what single takes."),
    ] = None,
    cache: Annotated[
        str | None, typer.Option(help="warm-memory (default), warm-disk or cold.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="grpc://, http:// or https://host:port of a sidecar with the same model. Its "
            f"token, if any, is in {TOKEN_VARIABLE}."
        ),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(help="all (default), none, a peer, or PEER:METHOD; several times."),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            help="Share of documents, candidates and queries. Default: what fits in minutes.",
            min=0.0,
            max=1.0,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    queries: _One = None,
    documents: _Two = None,
    candidates: _Two = None,
    sample: Annotated[
        int | None,
        typer.Option(help="Candidates of a query that peers score.", min=2, rich_help_panel=_PANEL),
    ] = None,
    units: Annotated[
        int | None, typer.Option(help="Queries that peers score.", min=1, rich_help_panel=_PANEL)
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Of turns with the peers.", min=1, rich_help_panel=_PANEL)
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(help="Of every query in every mode.", min=1, rich_help_panel=_PANEL),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of what is drawn.", min=0)] = None,
    out: OutOption = None,
    csv: Annotated[Path | None, typer.Option(help="A row a run and peer.", dir_okay=False)] = None,
    html: Annotated[Path | None, typer.Option(help="A page with plots.", dir_okay=False)] = None,
) -> None:
    """Seconds of a query, its stages and the machine's ceilings, beside peers on the same pairs.

    Nothing is timed unless scores equal the full-sequence model's; else the exit code is 1. Ctrl-C
    ends the measuring: what is finished by then is shown and written.
    """
    from minireranker.bench.latency import LatencyBench, check_size, find_workload, workloads
    from minireranker.bench.latency.modes import Mode
    from minireranker.bench.latency.plan import Asked

    from .bench_latency_output import show_workloads

    if listed:
        show_workloads(workloads())
        return
    for path, option in ((out, "--out"), (csv, "--csv"), (html, "--html")):
        check_target(path, option)
    seeded = [] if seed is None else [f"seed={seed}"]
    load = find_workload(workload).changed([*(settings or ()), *seeded])
    asked = Asked(queries, documents, candidates, scale, sample, units, rounds, repeats)
    modes = tuple(Mode(name, concurrency, rate) for name in mode or ("offline", "single"))
    peers = tuple(peer or ("all",))
    places = profile, dtype, device, embedder, cache
    # No option: the command line stands in the result.
    token = os.environ.get(TOKEN_VARIABLE) or None
    bench = LatencyBench(model or Path(size), load, *places, modes, peers, asked, target, token)
    if model is None:
        check_size(size, bench)
    say = clock()
    with (
        tempfile.TemporaryDirectory(prefix="minireranker-latency-") as scratch,
        given_or_synthetic(model, size, say) as checkpoint,
    ):
        result = _run(replace(bench, model=checkpoint), Path(scratch), say)
        _finish(result, out, csv, html)


def _run(bench: LatencyBench, scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The result, said when it is there."""
    from minireranker.bench.latency import run

    result = run(bench, scratch, say)
    say("done" if result["finished"] else str(result["stopped"]))
    return result


def _finish(result: dict[str, Any], out: Path | None, csv: Path | None, html: Path | None) -> None:
    """Show and write what there is. Raises typer.Exit for a gate not passed, or an interrupt."""
    from .bench_latency_files import write_csv, write_html
    from .bench_latency_output import show

    try:
        show(result)
    finally:  # a reader that goes away (| head) costs no result
        if out is not None:
            write_result(out, result)
        if csv is not None:
            write_csv(csv, result)
        if html is not None:
            write_html(html, result)
    gate = result["gate"]
    if gate is not None and not gate["passed"]:
        raise typer.Exit(1)
    if not result["finished"]:
        raise typer.Exit(_INTERRUPTED if result["stopped"].startswith("interrupted") else 1)
