"""The pieces that every page is made of: a query, a document's picture, figures; and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from minireranker.engine.content import Content
from minireranker.engine.types import KeptVisual
from minireranker.errors import ConfigurationError

from .style import STYLE
from .thumbnails import image_uri, video_uri

__all__ = ["content_view", "figures_view", "query_view", "save_page"]

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_EXCERPT = 420


def query_view(content: Content) -> str:
    """A query's pictures and text."""
    pictures = [(image_uri(image), "image") for image in content.images]
    pictures += [(video_uri(video), "video") for video in content.videos]
    shown = "".join(f'<img src="{uri}" alt="query {kind}">' for uri, kind in pictures if uri)
    text = "\n".join(text for text in content.texts if text.strip())
    return f'<section class="query">{shown}{f"<p>{escape(text)}</p>" if text else ""}</section>'


def figures_view(figures: Mapping[str, str]) -> str:
    """Names and values in a row."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in figures.items()
    )
    return f'<dl class="facts">{items}</dl>'


def content_view(content: Content, name: str, visuals: Sequence[KeptVisual]) -> str:
    """The picture of a document, or its first words, and a tag for what a picture cannot say."""
    uri, tag, kept = None, "", visuals[0] if visuals else None
    if content.videos:
        uri, tag = video_uri(content.videos[0], kept=kept), "video"
    elif content.images:
        uri = image_uri(content.images[0], kept=kept)
        tag = f"{len(content.images)} images" if len(content.images) > 1 else ""
    shown = f'<span class="tag">{tag}</span>' if tag else ""
    if uri:
        return f'<img src="{uri}" alt="{name}" loading="lazy">{shown}'
    text = "\n".join(content.texts).strip()
    if text:
        return f"<blockquote>{escape(text[:_EXCERPT])}</blockquote>{shown}"
    return f'<span class="none">no preview</span>{shown}'


def save_page(path: Path, title: str, body: str) -> None:
    """Write one page without script or network. Raises ConfigurationError where it cannot."""
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
