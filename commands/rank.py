"""`minireranker rank`: a query, files, and what comes first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minireranker.errors import ConfigurationError, EmptyQueryError

if TYPE_CHECKING:
    from minireranker.engine import Ranking, Reranker
    from minireranker.engine.content import Query

__all__ = ["rank"]

_SOURCES = "Folders, patterns in quotes, and files: images, videos, .txt, .pdf, .jsonl."

_Words = Annotated[str, typer.Argument(help='What is searched for; "" with --query-image.')]
_Sources = Annotated[list[str], typer.Argument(help=_SOURCES)]
_Model = Annotated[str, typer.Option("--model", "-m", help="A checkpoint directory or hub id.")]
_Profile = Annotated[str, typer.Option(help="A profile's name, or a file that ends in .toml.")]
_Picture = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A picture to search with.")
]
_Film = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A video to search with.")
]
_Count = Annotated[int, typer.Option("--top-k", "-k", min=0, help="How many to show; 0 is all.")]
_Task = Annotated[str | None, typer.Option(help="The task in one sentence, for the model.")]
_Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout instead.")]
_Html = Annotated[Path | None, typer.Option(dir_okay=False, help="Also write a report here.")]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
_Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 ...")]


def rank(
    query: _Words,
    sources: _Sources,
    model: _Model,
    profile: _Profile = "mini",
    query_image: _Picture = None,
    query_video: _Film = None,
    top_k: _Count = 10,
    instruction: _Task = None,
    json: _Json = False,
    html: _Html = None,
    device: _Device = "auto",
    dtype: _Dtype = "auto",
) -> None:
    """Rank files by how well they answer a query, best first."""
    from .rank_output import show_json, show_text
    from .sources import find_files, read_documents

    asked, files = _query(query, query_image, query_video), find_files(sources)
    _check_target(html)
    reranker = _load(model, profile, device, dtype)
    documents = read_documents(files, reranker.profile.limits.max_pixels)
    ranking = reranker.rank(
        asked, documents, top_k=top_k or len(documents), instruction=instruction
    )
    if json:
        show_json(asked, ranking, model, reranker.profile.name)
    else:
        show_text(ranking, len(documents), reranker.describe())
    if html is not None:
        _report(html, asked, ranking, reranker, quiet=json)
    if not ranking.hits:
        raise typer.Exit(2)


def _query(text: str, image: Path | None, video: Path | None) -> Query:
    from minireranker.engine.content import Query

    query = Query(text=text or None, image=image, video=video)
    if query.content.is_empty:
        raise EmptyQueryError(
            "the query has no words and no picture; write some words, or add --query-image FILE"
        )
    return query


def _check_target(html: Path | None) -> None:
    """A report that cannot be written should be known before the ranking, not after."""
    if html is not None and not html.absolute().parent.is_dir():
        raise ConfigurationError(f"--html {html}: there is no folder {html.parent}; make it first")
    if html is not None and (html.is_dir() or not os.access(_existing(html), os.W_OK)):
        raise ConfigurationError(f"--html {html}: cannot be written to; name another file")


def _existing(path: Path) -> Path:
    return path if path.exists() else path.absolute().parent


def _load(model: str, profile: str, device: str, dtype: str) -> Reranker:
    from minireranker.engine import Reranker

    return Reranker.from_pretrained(model, profile=profile, device=device, dtype=dtype)


def _report(path: Path, query: Query, ranking: Ranking, reranker: Reranker, quiet: bool) -> None:
    from minireranker.report import write_report

    write_report(path, query=query, ranking=ranking, subtitle=reranker.describe())
    typer.echo(f"report: {path}", err=quiet)
