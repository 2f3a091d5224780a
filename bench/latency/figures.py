"""A result's figures as SVG, to stand in a page: text in the page's own ink, light or dark.

matplotlib draws them. Colours of marks stand out from white and near-black alike; what is drawn in
INK takes the colour of the text around it.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minireranker.bench.quality_chart import INK, MARK, OTHER, drawing_library

from .economy import QUERIES_A_DOCUMENT
from .wording import seconds

__all__ = ["FIGURES", "Drawing", "draw_figures"]

_COLOURS = (MARK, OTHER, "#7a63c7", "#4d8f3a", "#b8497f", "#3f7fbf", "#a08a1f", "#8a6d5a")
_WIDTH = 7.2
"""Inches."""

Drawing = Callable[[Any, Mapping[str, Any]], bool]
"""Draws into a matplotlib Axes; False where the result has nothing for it."""


def draw_figures(result: Mapping[str, Any]) -> dict[str, str]:
    """SVG by title, of all that the result has figures for. Raises MissingDependencyError."""
    figure_type = drawing_library()
    from matplotlib import rc_context

    found = {}
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "minireranker"}):
        for title, draw in FIGURES.items():
            figure = figure_type(figsize=(_WIDTH, 3.4), layout="constrained")
            axes = figure.subplots()
            if draw(axes, result):
                _finish(axes)
                found[title] = _svg(figure)
    return found


def _svg(figure: Any) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    # Inside a page there is neither an XML declaration nor a doctype.
    return text[text.index("<svg") :].replace(INK, "currentColor")


def _finish(axes: Any) -> None:
    axes.tick_params(colors=INK, which="both", labelsize=9)
    axes.grid(color=INK, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(9)
    for side in axes.spines.values():
        side.set_visible(False)
    legend = axes.get_legend()
    if legend is not None:
        legend.get_frame().set_alpha(0.0)
        for text in legend.get_texts():
            text.set_color(INK)
            text.set_fontsize(8)


def _in_seconds(axis: Any) -> None:
    """Words as in the tables; between powers of ten only where there are hardly any of those."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    low, high = axis.get_view_interval()
    said = FuncFormatter(lambda value, _: seconds(value))
    axis.set_major_formatter(said)
    axis.set_minor_formatter(said if high < 4 * low else NullFormatter())


def _all_runs(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [run for target in result["targets"] for run in target["runs"]]


def _latencies(axes: Any, result: Mapping[str, Any]) -> bool:
    """Share of queries answered within so many seconds; a call of offline is no query."""
    runs = [run for run in _all_runs(result) if run["mode"] != "offline"]
    if not runs:
        return False
    for run, colour in zip(runs, _COLOURS, strict=False):
        samples = sorted(run["latencies"])
        shares = [(at + 1) / len(samples) for at in range(len(samples))]
        axes.step(samples, shares, where="post", color=colour, label=run["label"])
    axes.set_xscale("log")
    _in_seconds(axes.xaxis)
    axes.set_xlabel("from its arrival to its answer")
    axes.set_ylabel("share of queries answered")
    axes.set_ylim(0, 1.02)
    axes.legend(loc="lower right")
    return True


def _pairs(axes: Any, result: Mapping[str, Any]) -> bool:
    """Seconds a pair of every contender, on the same pairs: median, and smallest to largest."""
    turns = result["turns"]
    rows = [row for row in result["peers"] if row["seconds_a_pair"]]
    if turns is None or not rows:
        return False
    sample = result["settings"]["sample"]
    listed = result["workload"]["candidates"]
    bars = {
        f"ours, whole list of {listed}": [each / listed for each in turns["whole_seconds"]],
        f"ours, the same {sample}": [each / sample for each in turns["seconds"]],
    }
    bars |= {row["name"]: row["seconds_a_pair"] for row in rows}
    for at, (name, values) in enumerate(bars.items()):
        colour = MARK if name.startswith("ours") else OTHER
        axes.plot([min(values), max(values)], [at, at], color=colour, linewidth=2.5)
        axes.plot([statistics.median(values)], [at], "o", color=colour, markersize=7)
    axes.set_yticks(range(len(bars)), list(bars), parse_math=False)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xscale("log")
    _in_seconds(axes.xaxis)
    axes.set_xlabel("a pair: median of the turns, smallest to largest")
    return True


def _stages(axes: Any, result: Mapping[str, Any]) -> bool:
    """Shares of the stages, a bar a run."""
    runs = [run for run in _all_runs(result) if run["stages"]]
    if not runs:
        return False
    shown = (name for run in runs for name, of in run["stages"].items() if of["share"] > 0)
    names = list(dict.fromkeys(shown))
    left = [0.0] * len(runs)
    for name, colour in zip(names, _COLOURS, strict=False):
        shares = [run["stages"].get(name, {}).get("share", 0.0) for run in runs]
        axes.barh(range(len(runs)), shares, 0.5, left=left, color=colour, label=name)
        left = [before + share for before, share in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(runs)), [run["label"] for run in runs], parse_math=False)
    axes.set_ylim(len(runs) - 0.5, -0.5)
    axes.set_xlabel("share of the time inside the library")
    axes.legend(ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return True


def _roofline(axes: Any, result: Mapping[str, Any]) -> bool:
    """What runs reach beneath the roof of the two ceilings."""
    ceilings = result["ceilings"]
    runs = [run for run in _all_runs(result) if "reached" in run]
    if ceilings is None or not runs:
        return False
    flop, moved = ceilings["flop_per_second"], ceilings["bytes_per_second"]
    ridge = flop / moved
    points = [run["reached"]["flop_a_byte"] for run in runs]
    ends = min([ridge, *points]) / 8, max([ridge, *points]) * 8
    line = [ends[0], ridge, ends[1]]
    axes.plot(line, [min(flop, each * moved) / 1e9 for each in line], color=INK, linewidth=1.2)
    for run, colour in zip(runs, _COLOURS, strict=False):
        reached = run["reached"]
        at = reached["flop_a_byte"], reached["flop_per_second"] / 1e9
        axes.plot(*[[each] for each in at], "o", color=colour, markersize=8, label=run["label"])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("FLOP a byte")
    axes.set_ylabel("GFLOP/s")
    axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return True


def _economy(axes: Any, result: Mapping[str, Any]) -> bool:
    """Seconds a pair, reading included, by how many queries meet a document."""
    ours = [target["amortised"] for target in result["targets"] if target["amortised"]]
    if not ours:
        return False
    curves = {"ours": {int(n): cost for n, cost in ours[0].items()}}
    for row in result["peers"]:
        if row["seconds_a_pair"]:
            first, later = map(_median, (row["cold_seconds_a_pair"], row["seconds_a_pair"]))
            counts = QUERIES_A_DOCUMENT
            curves[row["name"]] = {n: (first + (n - 1) * later) / n for n in counts}
    for (name, costs), colour in zip(curves.items(), _COLOURS, strict=False):
        thick = 2.4 if name == "ours" else 1.3
        axes.plot(list(costs), list(costs.values()), color=colour, label=name, linewidth=thick)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _in_seconds(axes.yaxis)
    axes.set_xticks(QUERIES_A_DOCUMENT, [f"{n:,}" for n in QUERIES_A_DOCUMENT])
    axes.set_xlabel("queries that meet a document")
    axes.set_ylabel("a pair, reading included")
    axes.legend(loc="best")
    return True


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


FIGURES: dict[str, Drawing] = {
    "Time of a pair, beside peers": _pairs,
    "Latency": _latencies,
    "Where the time goes": _stages,
    "Beneath the roof": _roofline,
    "Reading included": _economy,
}
"""By title, in the order of the page."""
