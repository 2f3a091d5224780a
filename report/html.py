"""One self-contained HTML file for one ranking: no script, no network, nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from minireranker.engine.content import Query
from minireranker.engine.types import Ranking

from .cards import card
from .chart import score_chart
from .tables import failed_table, seconds, stage_table
from .views import figures_view, query_view, save_page

__all__ = ["write_report"]


def write_report(
    path: Path | str,
    *,
    query: Query,
    ranking: Ranking,
    title: str = "minireranker",
    subtitle: str = "",
    warning: str = "",
    notes: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
    runs: Mapping[str, Ranking] | None = None,
) -> None:
    """Write ``ranking`` as HTML, every document with a small picture of it.

    ``warning`` is shown as a box of its own, ``notes`` as paragraphs; ``facts`` are added to the
    figures under the query; ``runs`` are the columns of the table of stages (by default this
    ranking alone). Text is escaped, whoever wrote it. Raises ConfigurationError where the file
    cannot be written.
    """
    figures = {
        "ranked": f"{len(ranking):,}",
        "failed": f"{len(ranking.failed):,}",
        "time": seconds(ranking.timings.total),
        **(facts or {}),
    }
    body = [
        f'<h1>{escape(title)}</h1><p class="subtitle">{escape(subtitle)}</p>',
        query_view(query.content),
        f'<p class="warning">{escape(warning)}</p>' if warning else "",
        figures_view(figures),
        *(f'<p class="note">{escape(note)}</p>' for note in notes),
        *_sections(ranking, runs or {"this call": ranking}),
        "<footer>Score: the raw logit difference, by which documents are ranked. "
        "Probability: its sigmoid. Faded parts of a picture are visual tokens that were not kept. "
        "A token-layer is one token in one decoder layer.</footer>",
    ]
    save_page(Path(path), title, "\n".join(body))


def _sections(ranking: Ranking, runs: Mapping[str, Ranking]) -> list[str]:
    names = [hit.id or f"document {hit.index}" for hit in ranking]
    cards = "\n".join(card(rank, hit) for rank, hit in enumerate(ranking, 1))
    chart = score_chart([hit.score for hit in ranking], names)
    sections = []
    if ranking.hits:
        sections.append(f'<h2>Scores in rank order</h2><div class="panel">{chart}</div>')
        sections.append(f'<h2>Documents</h2><ol class="grid">{cards}</ol>')
    if ranking.failed:
        table = failed_table(ranking.failed)
        sections.append(f'<h2>Could not be ranked</h2><div class="panel">{table}</div>')
    stages = stage_table(runs)
    return [*sections, f'<h2>Time and work</h2><div class="panel">{stages}</div>']
