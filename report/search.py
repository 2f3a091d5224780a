"""One self-contained HTML file for one search: its hits, and what every stage did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from minireranker.engine.content import Content, Query
from minireranker.retrieval.search_result import Hit, SearchResult, StageRecord
from minireranker.retrieval.sources import document_of

from .chart import score_chart
from .tables import seconds
from .views import content_view, figures_view, query_view, save_page

__all__ = ["write_search_report"]


def write_search_report(
    path: Path | str,
    *,
    query: Query,
    result: SearchResult,
    title: str = "minireranker",
    subtitle: str = "",
) -> None:
    """Write ``result`` as HTML, every hit with a small picture of it where its source says one.

    Text is escaped, whoever wrote it. Raises ConfigurationError where the file cannot be written.
    """
    stages = result.stages
    figures = {
        "candidates": f"{stages[0].candidates:,}",
        "shown": f"{len(result):,}",
        "failed": f"{len(result.failed):,}",
        "time": seconds(result.seconds),
    }
    if reranked := [stage.work for stage in stages if stage.system == "reranker"]:
        figures["cache hits"] = f"{sum(work.cache_hits for work in reranked):,}"
        figures["cache misses"] = f"{sum(work.cache_misses for work in reranked):,}"
    body = [
        f'<h1>{escape(title)}</h1><p class="subtitle">{escape(subtitle)}</p>',
        query_view(query.content),
        figures_view(figures),
        *_sections(result),
        "<footer>Hits are in the order of the last stage's scores; scores of different stages "
        "cannot be compared.</footer>",
    ]
    save_page(Path(path), title, "\n".join(body))


def _sections(result: SearchResult) -> list[str]:
    sections = []
    if result.hits:
        # A document without token vectors has a MaxSim of -inf: no bar is that long.
        drawn = [hit for hit in result if math.isfinite(hit.score)]
        if drawn:
            chart = score_chart([hit.score for hit in drawn], [hit.id for hit in drawn])
            sections.append(f'<h2>Scores in rank order</h2><div class="panel">{chart}</div>')
        cards = "\n".join(map(_card, result))
        sections.append(f'<h2>Documents</h2><ol class="grid">{cards}</ol>')
    sections.append(f'<h2>Stages</h2><div class="panel">{_stages(result.stages)}</div>')
    if result.failed:
        table = _failed(result.stages)
        sections.append(f'<h2>Could not be ranked</h2><div class="panel">{table}</div>')
    return sections


def _card(hit: Hit) -> str:
    name = escape(hit.id)
    document = document_of(hit.id, hit.source)
    content = Content() if document is None else document.content
    scores = "".join(
        f"<span>{escape(stage)} <b>{score:.4f}</b></span>" for stage, score in hit.scores.items()
    )
    return (
        f'<li class="card{" first" if hit.rank == 1 else ""}">'
        f'<div class="view">{content_view(content, name, ())}'
        f'<span class="rank">{hit.rank}</span></div>'
        f'<div class="words"><div class="id" title="{name}">{name}</div>'
        f'<div class="numbers">{scores}</div></div></li>'
    )


def _failed(stages: Sequence[StageRecord]) -> str:
    rows = "".join(
        f"<tr><td>{escape(stage.name)}</td><td>{escape(item.id or '')}</td>"
        f"<td>{escape(str(item.error))}</td></tr>"
        for stage in stages
        for item in stage.failed
    )
    return f'<table class="failed"><tbody>{rows}</tbody></table>'


def _stages(stages: Sequence[StageRecord]) -> str:
    heads = "".join(
        f"<th>{name}</th>"
        for name in ("Stage", "Candidates", "Went on", "Failed", "Encoding", "Searching")
    )
    rows = "".join(
        f"<tr><td>{escape(stage.name)} ({escape(stage.system)})</td><td>{stage.candidates:,}</td>"
        f"<td>{stage.kept:,}</td><td>{len(stage.failed):,}</td>"
        f"<td>{seconds(stage.encode_seconds)}</td><td>{seconds(stage.search_seconds)}</td></tr>"
        for stage in stages
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
