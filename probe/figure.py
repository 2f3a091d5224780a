"""The curves of a probe as one picture: small multiples over layers, the choice marked in each."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minireranker.errors import MissingDependencyError

from .curves import Curve
from .result import ProbeResult
from .settings import METRICS

_NAMES = {
    "pair_accuracy": "pair accuracy",
    "auc": "AUC, all queries",
    "ndcg": "nDCG@10",
    "pearson": "Pearson",
    "kendall": "Kendall tau",
    "centred": "centred",
    "raw": "raw",
}
_BLUE, _ORANGE, _GREEN, _INK = "#0072b2", "#d55e00", "#009e73", "#333333"
"""Of Okabe and Ito's palette: told apart with any kind of colour vision."""

_OPENED, _CLOSED = "sees it from this layer on", "sees it before this layer"


def require_matplotlib() -> None:
    """Raise MissingDependencyError without it: better before a long measurement than after."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise MissingDependencyError(
            "the curves are drawn with matplotlib: pip install 'minireranker[quality]', or leave "
            "the picture out (--no-figure)"
        )


def draw(result: ProbeResult, path: Path) -> None:
    """Write a PNG. Raises MissingDependencyError without matplotlib, OSError."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [_relevance, _similarity, _agreement, _blocked_metric]
    if result.keep:
        panels.append(_keep)
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(11, 1 + 3.8 * rows), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_title(result), fontsize=11, x=0.01, ha="left", parse_math=False)
    axes = list(figure.subplots(rows, 2, squeeze=False).flat)
    for panel, axis in zip(panels, axes, strict=False):
        panel(axis, result)
        _finish(axis)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.savefig(path, format="png")


def _title(result: ProbeResult) -> str:
    choice, facts = result.choice, result.facts
    model, data = facts["model"], facts["data"]
    head = (
        f"{model['name']} on {data['name']}: {data['queries']} queries, {data['pairs']} pairs; "
        f"blocked {data['blocked_queries']} queries, {data['blocked_pairs']} pairs"
    )
    low, high = choice.band
    found = (
        f"proposed: exit {choice.exit_layer} of {model['layers']}, band [{low}, {high}), "
        f"keep {choice.keep_ratio:g}"
        if choice.is_supported
        else f"nothing proposed: {choice.reasons[0]}"
    )
    stopped = " (stopped by hand)" if result.is_interrupted else ""
    return "\n".join(textwrap.wrap(head + stopped, 130) + textwrap.wrap(found, 130))


def _relevance(axis: Any, result: ProbeResult) -> None:
    axis.set_title("Relevance at every exit (logit lens)")
    for name, colour in zip(METRICS, (_BLUE, _ORANGE, _GREEN), strict=True):
        _line(axis, result.relevance[name], colour, _NAMES[name])
    chance = result.chance[result.settings.metric]
    _mark(axis, chance, "chance")
    axis.set_xlabel("layers run")
    _over_layers(axis, result)


def _similarity(axis: Any, result: ProbeResult) -> None:
    axis.set_title("Second segment's states behind different first segments")
    if not result.similarity:
        _nothing(axis, "no second segment stood behind two first segments of one span")
        return
    for name, colour in (("raw", _ORANGE), ("centred", _BLUE)):
        _line(axis, result.similarity[name], colour, f"cosine, {name}")
    axis.set_ylim(top=1.02)
    axis.set_xlabel("layers run")
    _over_layers(axis, result)


def _agreement(axis: Any, result: ProbeResult) -> None:
    axis.set_title("Pathway blocked: agreement with the open scores")
    if not _blocked(axis, result, ("pearson", "kendall")):
        return
    least = result.settings.min_correlation
    _mark(axis, least, f"asked for: {least:g}")


def _blocked_metric(axis: Any, result: ProbeResult) -> None:
    metric = result.settings.metric
    axis.set_title(f"Pathway blocked: {_NAMES[metric]}")
    if _blocked(axis, result, (metric,)):
        _mark(axis, result.chance[metric], "chance")


def _blocked(axis: Any, result: ProbeResult, names: tuple[str, ...]) -> bool:
    """At the proposed exit: a line for each way of blocking and each measure."""
    if not result.blocking:
        _nothing(axis, "stopped by hand before")
        return False
    part = result.blocking[0]
    for curves, colour, label in ((part.opened, _BLUE, _OPENED), (part.closed, _ORANGE, _CLOSED)):
        for name, style in zip(names, ("-", "--"), strict=False):
            several = f", {_NAMES[name]}" if len(names) > 1 else ""
            _line(axis, curves[name], colour, label + several, style)
    axis.set_xlabel(f"layer (scores at exit {part.exit_layer})")
    _over_layers(axis, result)
    return True


def _keep(axis: Any, result: ProbeResult) -> None:
    axis.set_title(f"Visual tokens kept (scores at exit {result.choice.exit_layer})")
    curves: Mapping[str, Curve] = result.keep
    for (name, curve), colour in zip(curves.items(), (_BLUE, _ORANGE, _GREEN), strict=False):
        _line(axis, curve, colour, _NAMES[name])
    axis.axvline(result.choice.keep_ratio, color=_INK, linewidth=1.2)
    axis.set_xlabel("share of visual tokens kept")


def _line(axis: Any, curve: Curve, colour: str, label: str, style: str = "-") -> None:
    values, low, high = ([getattr(p, n) for p in curve.points] for n in ("value", "low", "high"))
    axis.plot(curve.at, values, style, color=colour, label=label, linewidth=1.6, marker=".")
    if low != high:
        axis.fill_between(curve.at, low, high, color=colour, alpha=0.13, linewidth=0)


def _mark(axis: Any, value: float, text: str) -> None:
    """A dotted line, named at its right end, outside the axes."""
    axis.axhline(value, color=_INK, linewidth=0.8, linestyle=":")
    place = (1.005, value)
    axis.text(*place, text, fontsize=7, color=_INK, transform=axis.get_yaxis_transform())


def _over_layers(axis: Any, result: ProbeResult) -> None:
    choice, layers = result.choice, result.facts["model"]["layers"]
    axis.set_xlim(0, layers)
    axis.xaxis.get_major_locator().set_params(integer=True)
    if choice.is_supported:
        axis.axvspan(*choice.band, color="#bbbbbb", alpha=0.25, linewidth=0, label="proposed band")
        axis.axvline(choice.exit_layer, color=_INK, linewidth=1.2, label="proposed exit")


def _nothing(axis: Any, why: str) -> None:
    axis.text(0.5, 0.5, f"not measured: {why}", ha="center", fontsize=8, transform=axis.transAxes)
    axis.set_yticks([])


def _finish(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.title.set_fontsize(9.5)
    axis.title.set_fontweight("bold")
    axis.xaxis.label.set_fontsize(8.5)
    axis.tick_params(labelsize=8)
    if axis.get_legend_handles_labels()[0]:
        # Below: wherever curves run, a legend inside would hide one of them.
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.15)}
        axis.legend(fontsize=7.5, frameon=False, ncols=2, **place)
