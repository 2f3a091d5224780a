"""What `minireranker profile probe` shows: a row an exit, then the choice and its reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .printable import printable

if TYPE_CHECKING:
    from minireranker.probe import ProbeResult
    from minireranker.probe.curves import Curve, Interval

__all__ = ["show"]

_NAMED = 5


def show(result: ProbeResult, written: Sequence[Path]) -> None:
    """Print everything on stdout; documents that failed and files written on stderr."""
    console, errors = Console(), Console(stderr=True)
    for line in result.failed[:_NAMED]:
        errors.print(Text(printable(f"not read: {line}"), style="yellow"), soft_wrap=True)
    if len(result.failed) > _NAMED:
        errors.print(Text(f"not read: {len(result.failed) - _NAMED} more", style="yellow"))
    console.print(_layers(result))
    console.print(_proposal(result))
    for path in written:
        errors.print(Text(f"written: {path}"), soft_wrap=True)
    if result.is_interrupted:
        errors.print("interrupted: this is of what was finished")


def _layers(result: ProbeResult) -> Table:
    """By layers run; a blocked pathway is seen at the proposed exit."""
    data, model = result.facts["data"], result.facts["model"]
    title = f"{model['name']} on {data['name']}: {data['queries']} queries, {data['pairs']} pairs"
    # Text, not str: a file's name is no markup.
    table = Table(
        title=Text(printable(title)),
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.add_column("layer", justify="right")
    metrics = {"pair_accuracy": "pair accuracy", "auc": "AUC", "ndcg": "nDCG@10"}
    similarity, blocked = result.similarity.get("centred"), result.blocking[:1]
    for name in metrics.values():
        table.add_column(name, justify="right")
    for name in ("similarity", "seen from here", "seen before") if blocked else ("similarity",):
        table.add_column(name, justify="right")
    for layer in range(model["layers"] + 1):
        cells = [_cell(result.relevance[name], layer) for name in metrics]
        cells.append(_cell(similarity, layer, bare=True))
        for part in blocked:
            ways = (part.opened["pearson"], part.closed["pearson"])
            cells += [_cell(curve, layer, bare=True) for curve in ways]
        is_exit = result.choice.is_supported and layer == result.choice.exit_layer
        table.add_row(str(layer), *cells, style="bold green" if is_exit else None)
    table.caption = (
        "relevance and similarity (centred cosine of the second segment's states) after so many "
        "layers; Pearson, within queries, of scores while the first segment is seen from or "
        "before that layer only"
    )
    return table


def _cell(curve: Curve | None, layer: int, *, bare: bool = False) -> str:
    if curve is None or layer not in curve.at:
        return ""
    point = curve[layer]
    return f"{point.value:.3f}" + ("" if bare else f" ±{(point.high - point.low) / 2:.3f}")


def _proposal(result: ProbeResult) -> Text:
    choice, (low, high) = result.choice, result.choice.band
    found = Text()
    if choice.is_supported:
        sentence = f"exit {choice.exit_layer}, band [{low}, {high}), keep {choice.keep_ratio:g}\n"
        found.append(f"proposed: {sentence}", style="bold green")
    else:
        found.append("nothing to propose but the dense model\n", style="bold yellow")
    for reason in choice.reasons:
        found.append(f"- {reason}\n")
    if result.proposed:
        found.append(f"untrained, it has {_listed(result.proposed)}\n")
        found.append(f"dense, on the same pairs: {_listed(result.dense)}")
    return found


def _listed(found: Mapping[str, Interval]) -> str:
    return ", ".join(f"{name} {item.value:.3f}" for name, item in found.items())
