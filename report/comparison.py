"""One self-contained HTML file for several rankings of one query, side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from minireranker.engine.content import Query
from minireranker.engine.types import Ranking

from .cards import card
from .tables import stage_table
from .views import figures_view, query_view, save_page

__all__ = ["Column", "write_comparison"]

_SHOWN = 24


@dataclass(frozen=True)
class Column:
    """One ranking, and what is said above it."""

    name: str
    note: str
    ranking: Ranking


def write_comparison(
    path: Path | str,
    *,
    query: Query | str,
    columns: Sequence[Column],
    marked: Collection[str] = (),
    title: str = "minireranker",
    subtitle: str = "",
    notes: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write the first hits of each ranking as HTML, with a small picture of each.

    ``marked``: ids of documents to set off. ``notes`` are paragraphs, ``facts`` figures under the
    query. Text is escaped, whoever wrote it. Raises ConfigurationError where the file cannot be
    written.
    """
    asked = Query(text=query) if isinstance(query, str) else query
    body = [
        f'<h1>{escape(title)}</h1><p class="subtitle">{escape(subtitle)}</p>',
        query_view(asked.content),
        figures_view(facts or {}),
        *(f'<p class="note">{escape(note)}</p>' for note in notes),
        f'<div class="beside">{"".join(_column(column, marked) for column in columns)}</div>',
        '<h2>Time and work</h2><div class="panel">'
        f"{stage_table({column.name: column.ranking for column in columns})}</div>",
        "<footer>Framed: documents that are known to fit. Score: the raw logit difference, by "
        "which documents are ranked. Faded parts of a picture are visual tokens that were not "
        "kept. A token-layer is one token in one decoder layer.</footer>",
    ]
    save_page(Path(path), title, "\n".join(body))


def _column(column: Column, marked: Collection[str]) -> str:
    cards = "\n".join(
        card(rank, hit, marked=hit.id in marked)
        for rank, hit in enumerate(column.ranking[:_SHOWN], 1)
    )
    return (
        f'<section><h2>{escape(column.name)}</h2><p class="note">{escape(column.note)}</p>'
        f'<ol class="grid small">{cards}</ol></section>'
    )
