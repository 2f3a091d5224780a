"""`minireranker rank`: a query, files, and what comes first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minireranker.errors import ConfigurationError, EmptyQueryError, NoDocumentsError

from .cache_folder import existing_folder

if TYPE_CHECKING:
    from minireranker.cache import Cache
    from minireranker.engine import Document, DocumentId, Ranking, Reranker
    from minireranker.engine.content import Query

    from .sources import SourceFile

__all__ = ["CODEC_HELP", "SOURCES_HELP", "rank"]

SOURCES_HELP = "Folders, patterns in quotes, and files: images, videos, .txt, .pdf, .jsonl."
CODEC_HELP = "How entries are kept: exact, bf16, fp8, int8 or int4."

_Words = Annotated[str, typer.Argument(help='What is searched for; "" with --query-image.')]
_Sources = Annotated[
    list[str] | None,
    typer.Argument(help=f"{SOURCES_HELP} None, with --cache: all that was indexed there."),
]
_Model = Annotated[
    str, typer.Option("--model", "-m", help="A checkpoint directory, a hub id, or builtin.")
]
_Profile = Annotated[str, typer.Option(help="A profile's name, or a file that ends in .toml.")]
EmbedderOption = Annotated[
    str | None,
    typer.Option(
        "--embedder", "-e", help="An embedding checkpoint that says which visual tokens to keep."
    ),
]
KeepOption = Annotated[
    float | None,
    typer.Option(
        help="Share of visual tokens kept, instead of the profile's; 1 needs no embedder."
    ),
]
_Picture = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A picture to search with.")
]
_Film = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A video to search with.")
]
_Count = Annotated[int, typer.Option("--top-k", "-k", min=0, help="How many to show; 0 is all.")]
_Task = Annotated[str | None, typer.Option(help="The task in one sentence, for the model.")]
_Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout instead.")]
_KEPT = (
    "Keep what is read here, and find it again. Without SOURCES: all that is indexed here, or in "
    "the default folder of index."
)
_Folder = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help=_KEPT),
]
_Codec = Annotated[str, typer.Option(help=CODEC_HELP)]
_Html = Annotated[Path | None, typer.Option(dir_okay=False, help="Also write a report here.")]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
_Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 ...")]


def rank(
    query: _Words,
    model: _Model,
    sources: _Sources = None,
    profile: _Profile = "mini",
    embedder: EmbedderOption = None,
    keep_ratio: KeepOption = None,
    query_image: _Picture = None,
    query_video: _Film = None,
    top_k: _Count = 10,
    instruction: _Task = None,
    json: _Json = False,
    html: _Html = None,
    folder: _Folder = None,
    codec: _Codec = "exact",
    device: _Device = "auto",
    dtype: _Dtype = "auto",
) -> None:
    """Rank files by how well they answer a query, best first."""
    from minireranker.cache import Cache

    from .rank_output import show_json, show_text

    asked, files = _query(query, query_image, query_video), _files(sources)
    folder = existing_folder(folder) if files is None else folder
    _check_target(html)
    with Cache(folder, codec=codec) as cache:
        reranker = load_reranker(model, profile, embedder, keep_ratio, device, dtype, cache)
        documents = _documents(reranker, files)
        ranking = reranker.rank(
            asked, documents, top_k=top_k or len(documents), instruction=instruction
        )
        stats = cache.stats
    if json:
        show_json(asked, ranking, model, reranker.profile.name, stats)
    else:
        show_text(ranking, len(documents), reranker.describe(), stats)
    if html is not None:
        _report(html, asked, ranking, reranker, quiet=json)
    if not ranking.hits:
        raise typer.Exit(2)


def _files(sources: Sequence[str] | None) -> list[SourceFile] | None:
    """The files named; None for all that the cache folder knows."""
    from .sources import find_files

    if sources:
        return find_files(sources)
    return None


def _documents(
    reranker: Reranker, files: Sequence[SourceFile] | None
) -> Sequence[Document | DocumentId]:
    from .sources import read_documents

    if files is not None:
        return read_documents(files, reranker.profile.limits.max_pixels)
    found = reranker.indexed()
    if not found:
        assert reranker.cache.disk is not None, "sources were named, or a folder"
        raise NoDocumentsError(
            f"nothing was indexed in {reranker.cache.disk.path} with this model, profile, dtype, "
            "codec, keep ratio and embedder; name files, run minireranker index with the same "
            "ones, or see minireranker cache info"
        )
    return found


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


def load_reranker(
    model: str,
    profile: str,
    embedder: str | None,
    keep_ratio: float | None,
    device: str,
    dtype: str,
    cache: Cache,
) -> Reranker:
    """The reranker that options ask for."""
    from minireranker.engine import Reranker

    return Reranker.from_pretrained(
        model,
        profile=profile,
        embedder=embedder,
        keep_ratio=keep_ratio,
        device=device,
        dtype=dtype,
        cache=cache,
    )


def _report(path: Path, query: Query, ranking: Ranking, reranker: Reranker, quiet: bool) -> None:
    from minireranker.report import write_report

    write_report(path, query=query, ranking=ranking, subtitle=reranker.describe())
    typer.echo(f"report: {path}", err=quiet)
