"""The scores as a bar chart: inline SVG, coloured by the report's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["score_chart"]

_WIDTH, _HEIGHT, _LEFT, _PAD = 1160.0, 170.0, 52.0, 12.0


def score_chart(scores: Sequence[float], names: Sequence[str]) -> str:
    """An ``<svg>`` with one bar a score, in the order given, from the zero line up or down.

    ``names`` are the bars' tooltips. Empty text for no scores.
    """
    if not scores:
        return ""
    low, high = min(0.0, *scores), max(0.0, *scores)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return _PAD + (high - value) / span * (_HEIGHT - 2 * _PAD)

    step = (_WIDTH - _LEFT) / len(scores)
    bars = "".join(
        _bar(_LEFT + step * at, step, place(score), place(0.0), f"{at + 1}. {name}: {score:.4f}")
        for at, (score, name) in enumerate(zip(scores, names, strict=True))
    )
    marks = "".join(_mark(place(value), value) for value in _ticks(low, high))
    label = f"{len(scores)} scores, from {max(scores):.3g} to {min(scores):.3g}"
    return (
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{label}">'
        f"{marks}{bars}</svg>"
    )


def _bar(left: float, step: float, top: float, zero: float, name: str) -> str:
    first = ' class="first"' if left == _LEFT else ""
    width = min(step * 0.78, 46.0)
    return (
        f'<rect{first} x="{left + (step - width) / 2:.2f}" width="{width:.2f}" '
        f'y="{min(top, zero):.2f}" height="{max(abs(top - zero), 1.0):.2f}" rx="1.5">'
        f"<title>{escape(name)}</title></rect>"
    )


def _ticks(low: float, high: float) -> list[float]:
    """Zero, and the ends that are far enough from it for their labels not to touch."""
    return [0.0] + [end for end in (low, high) if abs(end) > 0.12 * (high - low)]


def _mark(y: float, value: float) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.2f}" y2="{y:.2f}"/>'
        f'<text x="{_LEFT - 8}" y="{y + 4:.2f}" text-anchor="end">{value:.3g}</text>'
    )
