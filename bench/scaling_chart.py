"""A scaling result as a picture: a panel an axis, seconds of a pair over the number varied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minireranker.errors import ConfigurationError

from .quality_chart import INK, MARK, drawing_library

__all__ = ["draw_scaling"]

_NAMES = {
    "candidates": "candidates",
    "suffix": "tokens of a query",
    "prefix": "tokens of a document",
    "queries": "queries on shared documents",
}


def draw_scaling(result: Mapping[str, Any], path: Path) -> None:
    """Write a PNG of what ``scaling.run`` gave.

    Raises MissingDependencyError without matplotlib, ConfigurationError where ``path`` cannot be
    written.
    """
    axes = result["axes"]
    figure = drawing_library()(figsize=(2.9 * len(axes) + 0.4, 3.0), layout="constrained")
    panels = figure.subplots(1, len(axes), squeeze=False)[0]
    for panel, (axis, rows) in zip(panels, axes.items(), strict=True):
        values = [row[axis] for row in rows]
        heights = [1e3 * row["seconds_a_pair"] for row in rows]
        panel.plot(values, heights, "o-", color=MARK, clip_on=False)
        panel.set_xscale("log")
        panel.set_ylim(bottom=0)
        panel.set_xlabel(_NAMES[axis], color=INK, fontsize=9)
        panel.tick_params(colors=INK, labelsize=8)
        panel.grid(color=INK, alpha=0.25, linewidth=0.6)
        for side in panel.spines.values():
            side.set_visible(False)
    panels[0].set_ylabel("ms a pair", color=INK, fontsize=9)
    load, machine = result["workload"], result["machine"]
    title = f"{load['model']}, {load['precision']}, on {machine['gpu'] or machine['cpu']}"
    figure.suptitle(title, color=INK, fontsize=10, x=0.01, ha="left", parse_math=False)
    try:
        figure.savefig(path, dpi=160, transparent=True, format="png")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; name another file") from error
