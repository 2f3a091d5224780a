"""How ``minireranker bench quality`` shows its result: one table, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .bench_table import open_console, print_line, print_table
from .quantities import counted

__all__ = ["show"]

_NAMED = 3
"""Failures shown of a row; the result file has more."""

_FORM = ("exit", "band", "keep")
_BESIDE = ("kept", "tau", "top 10", "s")


def show(result: Mapping[str, Any]) -> None:
    """Print the table to stdout, as wide as it is."""
    console = open_console()
    confidence = f"± {100 * result['workload']['confidence']:g} %"
    names = ("", *_FORM, "nDCG@5", "nDCG@10", confidence, "Hit@1", "MRR@10", *_BESIDE)
    rows = [
        _cells(name, row, is_reference=name == result["reference"])
        for name, row in result["systems"].items()
    ]
    print_line(console, _title(result), "italic")
    print_table(console, names, rows)
    for line in _caption(result):
        print_line(console, line, "dim italic")
    for line in _remarks(result):
        print_line(console, line)


def _title(result: Mapping[str, Any]) -> str:
    load, machine = result["workload"], result["machine"]
    places = {(row["device"], row["dtype"]) for row in result["systems"].values()}
    on_gpu = any(device and device.startswith("cuda") for device, _ in places)
    dtypes = sorted({dtype for _, dtype in places if dtype})
    model = load["model"] or load["embedder"]
    said = [
        *([Path(model).name or model] if model else []),
        f"{load['dataset']}: {counted(load['queries'], 'query', 'queries')}",
        counted(load["documents"], "document", "documents"),
        counted(load["pairs"], "pair", "pairs"),
        f"on {machine['gpu'] if on_gpu else machine['cpu']}",
        *dtypes,
    ]
    return ", ".join(said)


def _cells(name: str, row: Mapping[str, Any], *, is_reference: bool) -> list[str]:
    metrics, agreement = row["metrics"], row["agreement"] or {}
    main = metrics["nDCG@10"]
    share = (main["difference"] or {}).get("share")
    tau, shared = (agreement.get(each) or {} for each in ("Kendall tau", "overlap@10"))
    return [
        name,
        "" if row["exit"] is None else str(row["exit"]),
        "" if row["band"] is None else f"{row['band'][0]}-{row['band'][1]}",
        "" if row["keep"] is None else f"{row['keep']:g}",
        _number(metrics["nDCG@5"]["mean"]),
        _number(main["mean"]),
        "" if main["mean"] is None else f"{(main['high'] - main['low']) / 2:.3f}",
        _number(metrics["Hit@1"]["mean"]),
        _number(metrics["MRR@10"]["mean"]),
        "" if is_reference or share is None else f"{100 * share:.1f} %",
        _number(tau.get("mean")),
        _number(shared.get("mean")),
        f"{row['seconds']:.1f}",
    ]


def _caption(result: Mapping[str, Any]) -> Iterator[str]:
    best, reference = result["workload"]["best_ndcg_at_10"], result["reference"]
    yield f"±: of nDCG@10, over queries; the best order of these candidates has {best:.3f}"
    if reference is not None:
        yield f"kept: share of {reference}'s nDCG@10; tau, top 10: against {reference}"
        for name, row in result["systems"].items():
            if row["metrics"]["nDCG@10"]["difference"]:
                yield f"{name} - {reference}: {_difference(row)}"


def _difference(row: Mapping[str, Any]) -> str:
    found = row["metrics"]["nDCG@10"]["difference"]
    return f"{found['mean']:+.3f} nDCG@10, between {found['low']:+.3f} and {found['high']:+.3f}"


def _remarks(result: Mapping[str, Any]) -> Iterator[str]:
    """What was not finished, and what failed: once, where it failed in several systems."""
    of = result["workload"]["queries"]
    failures: dict[tuple[str, ...], list[str]] = {}
    for name, row in result["systems"].items():
        if row["queries"] < of:
            yield f"{name}: interrupted; figures are of {row['queries']} of {of} queries"
        if row["failed"]:
            failures.setdefault(_failures(row), []).append(name)
    for lines, names in failures.items():
        yield f"{', '.join(names)}: {lines[0]}"
        yield from (f"  {line}" for line in lines[1:])
    for name, reason in result["errors"].items():
        yield f"{name}: not measured: {reason}"
    if result["not_begun"]:
        yield f"interrupted; not begun: {', '.join(result['not_begun'])}"


def _failures(row: Mapping[str, Any]) -> tuple[str, ...]:
    """How much failed, and the first few by name."""
    documents, queries = row["failed_documents"], row["failed_queries"]
    counts = []
    if documents:
        counts.append(f"{counted(documents, 'document', 'documents')} failed, ranked last")
    if queries:
        counts.append(f"{counted(queries, 'query', 'queries')} failed, worth 0")
    named = [f"{item['what']}: {item['reason']}" for item in row["failed"][:_NAMED]]
    return ("; ".join(counts), *named)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
