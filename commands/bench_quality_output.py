"""How ``minireranker bench quality`` shows its result: one table, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .printable import printable
from .quantities import counted

__all__ = ["show"]

_NAMED = 3
"""Failures shown of a row; the result file has more."""

_FORM = ("exit", "band", "keep")
_BESIDE = ("kept", "tau", "top 10", "s")


def show(result: Mapping[str, Any]) -> None:
    """Print the table to stdout, as wide as it is."""
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(_title(result)), box=None, pad_edge=False, header_style="bold")
    table.title_justify = table.caption_justify = "left"
    table.add_column("")
    confidence = f"± {100 * result['workload']['confidence']:g} %"
    for name in (*_FORM, "nDCG@5", "nDCG@10", confidence, "Hit@1", "MRR@10", *_BESIDE):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in result["systems"].items():
        cells = _cells(name, row, is_reference=name == result["reference"])
        table.add_row(*map(Text, cells))
    table.caption = Text(_caption(result))
    console = Console()
    # A file or a narrow window must not lose digits.
    wide = Measurement.get(console, console.options.update(max_width=1_000), table).maximum
    console = Console(width=max(console.width, wide))
    console.print(table)
    for line in _remarks(result):
        console.print(Text(line), soft_wrap=True)


def _title(result: Mapping[str, Any]) -> str:
    load, machine = result["workload"], result["machine"]
    places = {(row["device"], row["dtype"]) for row in result["systems"].values()}
    on_gpu = any(device and device.startswith("cuda") for device, _ in places)
    dtypes = sorted({dtype for _, dtype in places if dtype})
    model = load["model"] or load["embedder"]
    said = [
        *([printable(Path(model).name or model)] if model else []),
        f"{printable(load['dataset'])}: {counted(load['queries'], 'query', 'queries')}",
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
        printable(name),
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


def _caption(result: Mapping[str, Any]) -> str:
    best, reference = result["workload"]["best_ndcg_at_10"], result["reference"]
    lines = [f"±: of nDCG@10, over queries; the best order of these candidates has {best:.3f}"]
    if reference is not None:
        lines.append(f"kept: share of {reference}'s nDCG@10; tau, top 10: against {reference}")
        lines += [
            f"{name} - {reference}: {_difference(row)}"
            for name, row in result["systems"].items()
            if row["metrics"]["nDCG@10"]["difference"]
        ]
    return "\n".join(map(printable, lines))


def _difference(row: Mapping[str, Any]) -> str:
    found = row["metrics"]["nDCG@10"]["difference"]
    return f"{found['mean']:+.3f} nDCG@10, between {found['low']:+.3f} and {found['high']:+.3f}"


def _remarks(result: Mapping[str, Any]) -> Iterator[str]:
    """What was not finished, and what failed: once, where it failed in several systems."""
    of = result["workload"]["queries"]
    failures: dict[tuple[str, ...], list[str]] = {}
    for name, row in result["systems"].items():
        if row["queries"] < of:
            yield f"{printable(name)}: interrupted; figures are of {row['queries']} of {of} queries"
        if row["failed"]:
            failures.setdefault(_failures(row), []).append(printable(name))
    for lines, names in failures.items():
        yield f"{', '.join(names)}: {lines[0]}"
        yield from (f"  {line}" for line in lines[1:])
    for name, reason in result["errors"].items():
        yield printable(f"{name}: not measured: {reason}")
    if result["not_begun"]:
        yield f"interrupted; not begun: {', '.join(map(printable, result['not_begun']))}"


def _failures(row: Mapping[str, Any]) -> tuple[str, ...]:
    """How much failed, and the first few by name."""
    documents, queries = row["failed_documents"], row["failed_queries"]
    counts = []
    if documents:
        counts.append(f"{counted(documents, 'document', 'documents')} failed, ranked last")
    if queries:
        counts.append(f"{counted(queries, 'query', 'queries')} failed, worth 0")
    named = [printable(f"{item['what']}: {item['reason']}") for item in row["failed"][:_NAMED]]
    return ("; ".join(counts), *named)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
