"""One ranked document as a card: its picture, rank, name and score."""

from __future__ import annotations

from html import escape

from minireranker.engine.content import Document
from minireranker.engine.types import RankedDocument

from .views import content_view

__all__ = ["card"]


def card(rank: int, hit: RankedDocument, *, marked: bool = False) -> str:
    """An ``<li>``; the first is set off, and so is one that is ``marked``."""
    name = escape(hit.id or f"document {hit.index}")
    classes = " ".join(["card", *["first"] * (rank == 1), *["marked"] * marked])
    return (
        f'<li class="{classes}">'
        f'<div class="view">{content_view(Document.of(hit.document).content, name, hit.visuals)}'
        f'<span class="rank">{rank}</span></div>'
        f'<div class="words"><div class="id" title="{name}">{name}</div>'
        f'<div class="meter"><i style="width:{100 * hit.probability:.2f}%"></i></div>'
        f'<div class="numbers"><span>score <b>{hit.score:.4f}</b></span>'
        f"<span>{_percent(hit.probability)}</span></div></div></li>"
    )


def _percent(probability: float) -> str:
    """To one digit after the point, more where that would read as 0 or 100."""
    percent = 100 * probability
    return f"{percent:.1f} %" if 0.05 <= percent < 99.95 else f"{percent:.3g} %"
