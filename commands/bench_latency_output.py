"""How ``minireranker bench latency`` shows its result: runs, stages, peers, and what to know."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minireranker.bench.latency.wording import ceilings, pays_from, seconds, times, verdict

from .bench_table import open_console, print_line, print_table
from .quantities import counted, shown_bytes

if TYPE_CHECKING:
    from minireranker.bench.latency import LatencyWorkload

__all__ = ["show", "show_workloads"]

_RUN = (
    *("", "cache", "p50", "p90", "p95", "p99", "mean", "pairs/s", "queries/s", "hits"),
    *("of roof", "memory", "GPU memory"),
)
_PEER = (
    *("beside", "a pair", "first time", "over ours", "over ours, whole list"),
    *("scores", "pays from", "memory"),
)


def show(result: Mapping[str, Any]) -> None:
    """Print to stdout, as wide as it is; no timing of a result whose gate was not passed."""
    console = open_console()
    for target in result["targets"]:
        if target["runs"]:
            print_line(console, _title(target, result), "bold")
            rows = [_run(run) for run in target["runs"]]
            print_table(console, _RUN, rows, left=(0, 1))
            console.print()
    if result["peers"]:
        print_line(console, "peers, in turns with ours on the same pairs:", "bold")
        print_table(console, _PEER, list(_peers(result)))
        console.print()
    for line in (*_left_out(result["peers"]), *_remarks(result)):
        print_line(console, line)


def show_workloads(known: Mapping[str, LatencyWorkload]) -> None:
    """Print what there is, by name."""
    names = ("workload", "queries", "documents", "candidates", "visual tokens", "what")
    rows = []
    for name, load in known.items():
        counts = (load.queries, load.documents, load.listed, load.visual_tokens)
        rows.append([name, *(f"{count:,}" for count in counts), load.about])
    print_table(open_console(), names, rows, left=(0, 5))


def _run(run: Mapping[str, Any]) -> list[str]:
    reached = run.get("reached") or {"share_of_roof": None}
    return [
        run["label"] + ("" if run["finished"] else " (interrupted)"),
        run["cache"],
        *(seconds(run[name]) for name in _RUN[2:7]),
        f"{run['pairs_per_second']:,.4g}",
        f"{run['queries_per_second']:,.3g}",
        _percent(run["cache_hit_rate"], 0),
        _percent(reached["share_of_roof"], 1),
        _bytes(run["memory"]["peak"]),
        _bytes(run["memory"]["gpu_peak"]),
    ]


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
    return "; ".join(said)


def _peers(result: Mapping[str, Any]) -> Iterator[list[str]]:
    turns = result["turns"]
    if turns is not None:
        whole = f"{seconds(turns['whole_seconds_a_pair'])} on the whole list"
        yield ["ours", seconds(turns["seconds_a_pair"]), "", "1", whole, "", "", ""]
    for row in result["peers"]:
        if row["seconds_a_pair"]:
            yield _peer(row)


def _left_out(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Peers without a row of figures, and why."""
    for row in rows:
        if not row["seconds_a_pair"]:
            reason = row["reason"] or "interrupted before it was timed"
            yield f"{row['name']}: {reason.splitlines()[0]}"


def _peer(row: Mapping[str, Any]) -> list[str]:
    return [
        row["name"],
        seconds(statistics.median(row["seconds_a_pair"])),
        seconds(statistics.median(row["cold_seconds_a_pair"])),
        times(row["ratio"]),
        times(row["scaled_ratio"]),
        verdict(row["agreement"]),
        pays_from(row),
        _bytes(row["peak_memory"]),
    ]


def _own_error(gate: Mapping[str, Any]) -> str:
    """Of what is timed; in float32 that is what the gate is about."""
    error = gate["error_in_own_dtype"]
    return "no number" if error is None else f"{error / gate['spread']:.1e} of it"


def _remarks(result: Mapping[str, Any]) -> Iterator[str]:
    gate = result["gate"]
    if gate is None:
        yield "no timing: scores were not compared yet"
    elif "target" in gate and not gate["target"]["agrees"]:
        yield (
            f"no timing: the sidecar's scores are not this model's: {verdict(gate['target'])}, "
            f"allowed is {gate['target']['tolerance']:.2g}; give it the same model, profile and "
            "dtype"
        )
    elif not gate["passed"]:
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
            f"{gate['tolerance']:g}); as measured, in {result['device']['dtype']}: "
            f"{_own_error(gate)}"
        )
    for target in result["targets"]:
        yield from _of_target(target)
    if result["ceilings"] is not None and result["targets"]:
        yield ceilings(result["ceilings"])
    yield from result["settings"]["said"]
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
            yield (
                f"{row['name']}: its scores are not the unmodified model's ({row['order']}); "
                f"allowed is a difference of {agreement['tolerance']:.2g} (twice the model's own "
                "error in this dtype, and a rounding): compare its time with care"
            )
        if row["status"] == "failed":
            yield from f"{row['name']}: {row['reason']}".splitlines()
        if row["prefixes"] and row["prefixes"]["computed"]:
            yield (
                f"{row['name']}: {row['prefixes']['computed']} prefixes were computed again while "
                "it was timed, for want of room: its time is not that of warm prefixes"
            )


def _percent(share: float | None, digits: int) -> str:
    return "" if share is None else f"{100 * share:.{digits}f} %"


def _bytes(count: int | None) -> str:
    return "" if count is None else shown_bytes(count)
