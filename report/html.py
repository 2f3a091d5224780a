"""One self-contained HTML file for one ranking: no script, no network, nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from minireranker.engine.content import Content, Document, Query
from minireranker.engine.types import RankedDocument, Ranking
from minireranker.errors import ConfigurationError

from .chart import score_chart
from .style import STYLE
from .tables import failed_table, seconds, stage_table
from .thumbnails import image_uri, video_uri

__all__ = ["write_report"]

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_EXCERPT = 420


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
        _query(query.content),
        f'<p class="warning">{escape(warning)}</p>' if warning else "",
        _figures(figures),
        *(f'<p class="note">{escape(note)}</p>' for note in notes),
        *_sections(ranking, runs or {"this call": ranking}),
        "<footer>Score: the raw logit difference, by which documents are ranked. "
        "Probability: its sigmoid. A token-layer is one token in one decoder layer.</footer>",
    ]
    _save(Path(path), title, "\n".join(body))


def _sections(ranking: Ranking, runs: Mapping[str, Ranking]) -> list[str]:
    names = [hit.id or f"document {hit.index}" for hit in ranking]
    cards = "\n".join(_card(rank, hit) for rank, hit in enumerate(ranking, 1))
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


def _query(content: Content) -> str:
    pictures = [(image_uri(image), "image") for image in content.images]
    pictures += [(video_uri(video), "video") for video in content.videos]
    shown = "".join(f'<img src="{uri}" alt="query {kind}">' for uri, kind in pictures if uri)
    text = "\n".join(text for text in content.texts if text.strip())
    return f'<section class="query">{shown}{f"<p>{escape(text)}</p>" if text else ""}</section>'


def _figures(figures: Mapping[str, str]) -> str:
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in figures.items()
    )
    return f'<dl class="facts">{items}</dl>'


def _card(rank: int, hit: RankedDocument) -> str:
    name = escape(hit.id or f"document {hit.index}")
    return (
        f'<li class="card{" first" if rank == 1 else ""}">'
        f'<div class="view">{_view(Document.of(hit.document).content, name)}'
        f'<span class="rank">{rank}</span></div>'
        f'<div class="words"><div class="id" title="{name}">{name}</div>'
        f'<div class="meter"><i style="width:{100 * hit.probability:.2f}%"></i></div>'
        f'<div class="numbers"><span>score <b>{hit.score:.4f}</b></span>'
        f"<span>{_percent(hit.probability)}</span></div></div></li>"
    )


def _view(content: Content, name: str) -> str:
    """The picture of a document, or its first words, and a tag for what a picture cannot say."""
    uri, tag = None, ""
    if content.videos:
        uri, tag = video_uri(content.videos[0]), "video"
    elif content.images:
        uri = image_uri(content.images[0])
        tag = f"{len(content.images)} images" if len(content.images) > 1 else ""
    shown = f'<span class="tag">{tag}</span>' if tag else ""
    if uri:
        return f'<img src="{uri}" alt="{name}" loading="lazy">{shown}'
    text = "\n".join(content.texts).strip()
    if text:
        return f"<blockquote>{escape(text[:_EXCERPT])}</blockquote>{shown}"
    return f'<span class="none">no preview</span>{shown}'


def _percent(probability: float) -> str:
    """To one digit after the point, more where that would read as 0 or 100."""
    percent = 100 * probability
    return f"{percent:.1f} %" if 0.05 <= percent < 99.95 else f"{percent:.3g} %"


def _save(path: Path, title: str, body: str) -> None:
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )
    try:
        path.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigurationError(
            f"cannot write the report to {path}: {error.strerror or error}; name another file"
        ) from error
