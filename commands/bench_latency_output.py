"""How ``minireranker bench latency`` shows its result: runs, stages, peers, and what to know."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minireranker.bench.latency.wording import ceilings, pays_from, seconds, times, verdict

from .printable import printable
from .quantities import counted, shown_bytes

if TYPE_CHECKING:
    from rich.table import Table

    from minireranker.bench.latency import LatencyWorkload

__all__ = ["show", "show_workloads"]


def show(result: Mapping[str, Any]) -> None:
    """Print to stdout, as wide as it is; no timing of a result whose gate was not passed."""
    from rich.text import Text

    targets = [target for target in result["targets"] if target["runs"]]
    tables = {_title(target, result): _runs(target, result) for target in targets}
    if result["peers"]:
        tables["peers, in turns with ours on the same pairs:"] = _peers(result)
    console = _console(list(tables.values()))
    for title, table in tables.items():
        console.print(Text(title, style="bold"), soft_wrap=True)
        console.print(table)
        console.print()
    for line in _left_out(result["peers"]):
        console.print(Text(line), soft_wrap=True)
    for line in _remarks(result):
        console.print(Text(line), soft_wrap=True)


def show_workloads(known: Mapping[str, LatencyWorkload]) -> None:
    """Print what there is, by name."""
    table = _table("workload", "queries", "documents", "candidates", "visual tokens", "what")
    for name, load in known.items():
        counts = (load.queries, load.documents, load.listed, load.visual_tokens)
        table.add_row(name, *(f"{count:,}" for count in counts), load.about)
    table.columns[-1].justify = "left"
    _console([table]).print(table)


def _runs(target: Mapping[str, Any], result: Mapping[str, Any]) -> Table:
    on_gpu = result["device"]["kind"] != "cpu"
    names = ["", "cache", "p50", "p90", "p95", "p99", "mean", "pairs/s", "queries/s", "hits"]
    names += ["of roof", "memory", *(["GPU memory"] if on_gpu else [])]
    table = _table(*names)
    for run in target["runs"]:
        label = run["label"] + ("" if run["finished"] else " (interrupted)")
        rates = (f"{run['pairs_per_second']:,.4g}", f"{run['queries_per_second']:,.3g}")
        cells = [label, run["cache"], *(seconds(run[name]) for name in names[2:7]), *rates]
        reached = run.get("reached") or {"share_of_roof": None}
        cells += [_percent(run["cache_hit_rate"], 0), _percent(reached["share_of_roof"], 1)]
        cells.append(_bytes(run["memory"]["peak"]))
        table.add_row(*cells, *([_bytes(run["memory"]["gpu_peak"])] if on_gpu else []))
    table.columns[1].justify = "left"
    return table


def _title(target: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    load, model, machine = result["workload"], result["model"], result["machine"]
    place = machine["gpu"] if result["device"]["kind"] != "cpu" else machine["cpu"]
    said = [
        target["name"],
        f"{load['name']}: {counted(load['queries'], 'query', 'queries')} x "
        f"{load['candidates']} of {load['documents']} documents",
        f"{load['visual_tokens']} visual tokens" if load["visual_tokens"] else "texts",
        f"{model['name']}, {model['profile']}, {model['precision']}",
        f"{place}, {result['device']['threads']} threads",
    ]
    return printable("; ".join(said))


def _peers(result: Mapping[str, Any]) -> Table:
    names = ("beside", "a pair", "first time", "over ours", "over ours, whole list")
    table = _table(*names, "scores", "pays from", "memory")
    turns = result["turns"]
    if turns is not None:
        whole = f"{seconds(turns['whole_seconds_a_pair'])} on the whole list"
        table.add_row("ours", seconds(turns["seconds_a_pair"]), "", "1", whole)
    for row in result["peers"]:
        if row["seconds_a_pair"]:
            table.add_row(*_peer(row))
    return table


def _left_out(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Peers without a row of figures, and why."""
    for row in rows:
        if not row["seconds_a_pair"]:
            reason = row["reason"] or "interrupted before it was timed"
            yield f"{printable(row['name'])}: {printable(reason.splitlines()[0])}"


def _peer(row: Mapping[str, Any]) -> list[str]:
    return [
        printable(row["name"]),
        seconds(statistics.median(row["seconds_a_pair"])),
        seconds(statistics.median(row["cold_seconds_a_pair"])),
        times(row["ratio"]),
        times(row["scaled_ratio"]),
        verdict(row["agreement"]),
        pays_from(row),
        _bytes(row["peak_memory"]),
    ]


def _remarks(result: Mapping[str, Any]) -> Iterator[str]:
    gate = result["gate"]
    if gate is None:
        yield "no timing: scores were not compared yet"
    elif not gate["passed"]:
        if "target" in gate and not gate["target"]["agrees"]:
            yield (
                f"the sidecar's scores are not this model's: {verdict(gate['target'])}, allowed is "
                f"{gate['target']['tolerance']:.2g}; give it the same model, profile and dtype"
            )
        yield (
            f"no timing: scores differ from the full-sequence model by "
            f"{gate['difference_of_spread']} of their spread in float32, on {gate['pairs']} pairs "
            f"(allowed: {gate['tolerance']:g}); report this with the command"
        )
    else:
        if "target" in gate:
            yield f"gate: the sidecar's scores are ours: {verdict(gate['target'])}"
        yield (
            f"gate: {gate['difference_of_spread']:.1e} of the spread from the full-sequence model "
            f"in float32, on {counted(gate['pairs'], 'pair', 'pairs')} (allowed: "
            f"{gate['tolerance']:g})"
        )
    for target in result["targets"]:
        yield from _of_target(target)
    if result["ceilings"] is not None and result["targets"]:
        yield ceilings(result["ceilings"])
    yield from (printable(line) for line in result["settings"]["said"])
    yield from _of_peers(result["peers"])
    if not result["finished"]:
        yield f"{result['stopped']}; figures are of what was finished"


def _of_target(target: Mapping[str, Any]) -> Iterator[str]:
    for run in target["runs"]:
        if run["stages"]:
            parts = {name: 100 * of["share"] for name, of in run["stages"].items()}
            shares = (f"{name} {share:.1f} %" for name, share in parts.items() if share >= 0.05)
            yield f"stages, {run['label']}: {', '.join(shares)}"
    index = target["index"]
    if index is not None:
        held = index["bytes_a_document"]
        kept = "" if held is None else f", {shown_bytes(round(held))} kept"
        yield f"reading a document ahead: {seconds(index['seconds_a_document'])}{kept}"
    if target["amortised"] is not None:
        costs = (f"{seconds(cost)} at {n}" for n, cost in target["amortised"].items())
        yield f"a pair, reading included, by queries a document: {', '.join(costs)}"
    for run in target["runs"][:1]:
        energy = run["energy"]
        known = energy["joules"] is not None
        said = f"{energy['joules'] / run['queries']:.3g} J a query, by " if known else ""
        yield f"energy: {said}{energy['source']}"


def _of_peers(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    borrowed = {row["peer"] for row in rows if row["interpreter"] == "this interpreter"}
    for name in sorted(borrowed):
        yield f"{name} ran in this interpreter: it has no environment of its own"
    for row in rows:
        agreement = row["agreement"]
        if agreement is not None and not agreement["agrees"]:
            yield printable(
                f"{row['name']}: its scores are not the unmodified model's ({row['order']}); "
                f"allowed is a difference of {agreement['tolerance']:.2g} (twice the model's own "
                "error in this dtype, and a rounding): compare its time with care"
            )
        if row["status"] == "failed":
            yield from map(printable, f"{row['name']}: {row['reason']}".splitlines())
        if row["prefixes"] and row["prefixes"]["computed"]:
            yield (
                f"{row['name']}: {row['prefixes']['computed']} prefixes were computed again while "
                "it was timed, for want of room: its time is not that of warm prefixes"
            )


def _percent(share: float | None, digits: int) -> str:
    return "" if share is None else f"{100 * share:.{digits}f} %"


def _bytes(count: int | None) -> str:
    return "" if count is None else shown_bytes(count)


def _table(*names: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(names):
        table.add_column(name, justify="right" if at else "left", no_wrap=True)
    return table


def _console(tables: Sequence[Table]) -> Any:
    """One as wide as the widest: a file or a narrow window must not lose digits."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console()
    options = console.options.update(max_width=1_000)
    widths = [Measurement.get(console, options, table).maximum for table in tables]
    return Console(width=max([console.width, *widths]))
