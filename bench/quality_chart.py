"""A quality result as a picture: a panel a metric, a row a system, its mean and interval.

Without a background, in tones that stand out from white and from near-black alike, so that one file
serves a light page and a dark one. matplotlib draws it without a display.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minireranker.errors import ConfigurationError, MissingDependencyError

__all__ = ["INK", "MARK", "OTHER", "chart", "draw_quality", "drawing_library"]

INK, MARK, OTHER = "#797979", "#0e8a86", "#c0672e"
"""Text and lines, profiles, what is no profile: a contrast of 4 and more on white and #0d1117."""

_PANELS = ("nDCG@10", "Hit@1", "MRR@10")
_ROW, _HEAD = 0.34, 1.15
"""Inches."""


def chart(result: Mapping[str, Any]) -> Any:
    """A matplotlib Figure of what ``quality.run`` gave. Raises MissingDependencyError."""
    figure_type = drawing_library()
    systems = {k: v for k, v in result["systems"].items() if v["queries"]}
    figure = figure_type(figsize=(10.0, _HEAD + _ROW * max(len(systems), 1)), layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True, squeeze=False)[0]
    for panel, metric in zip(panels, _PANELS, strict=True):
        _draw_panel(panel, metric, systems, result["reference"])
    of = result["workload"]["queries"]
    labels = [_label(name, row, of) for name, row in systems.items()]
    panels[0].set_yticks(range(len(systems)), labels, color=INK, parse_math=False)
    panels[0].tick_params(axis="y", labelsize=8)
    panels[0].set_ylim(max(len(systems), 1) - 0.5, -0.5)
    figure.suptitle(_title(result), color=INK, fontsize=10, x=0.01, ha="left", parse_math=False)
    return figure


def draw_quality(result: Mapping[str, Any], path: Path) -> None:
    """Write a PNG of what ``quality.run`` gave.

    Raises MissingDependencyError without matplotlib, ConfigurationError where ``path`` cannot be
    written.
    """
    figure = chart(result)
    try:
        figure.savefig(path, dpi=160, transparent=True, format="png")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; name another file") from error


def _draw_panel(
    panel: Any, metric: str, systems: Mapping[str, Mapping[str, Any]], reference: str | None
) -> None:
    for at, (name, row) in enumerate(systems.items()):
        found = row["metrics"][metric]
        colour = OTHER if row["exit"] is None else MARK
        panel.plot([found["low"], found["high"]], [at, at], color=colour, linewidth=2.5)
        panel.plot([found["mean"]], [at], "o", color=colour, markersize=6)
        if name == reference:
            panel.axvline(found["mean"], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    panel.set_title(metric, color=INK, fontsize=10)
    panel.tick_params(colors=INK, labelsize=9, length=0)
    panel.grid(axis="x", color=INK, alpha=0.25, linewidth=0.6)
    panel.margins(x=0.08)
    for side in panel.spines.values():
        side.set_visible(False)


def _label(name: str, row: Mapping[str, Any], of: int) -> str:
    """The row's name; below it what the profile does, and of how many queries it is if not all."""
    said = []
    if row["exit"] is not None:
        low, high = row["band"]
        said.append(f"exit {row['exit']}, band {low}-{high}, keep {row['keep']:g}")
    if row["queries"] < of:
        said.append(f"{row['queries']:,} of {of:,} queries")
    return "\n".join([name, *([", ".join(said)] if said else [])])


def _title(result: Mapping[str, Any]) -> str:
    load = result["workload"]
    model = load["model"] or load["embedder"]
    by = f"{Path(model).name or model} on " if model else ""
    said = [
        f"{by}{load['dataset']}: {load['queries']:,} queries, {load['pairs']:,} pairs",
        f"bars: {100 * load['confidence']:g} % of resampled queries",
    ]
    said += [f"dashed: {result['reference']}"] if result["reference"] is not None else []
    said += ["interrupted"] if result["interrupted"] else []
    return "; ".join(said)


def drawing_library() -> Any:
    """matplotlib's Figure. Raises MissingDependencyError where it is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "drawing the chart needs matplotlib; pip install 'minireranker[quality]'"
        ) from error
    return Figure
