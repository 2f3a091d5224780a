"""`minireranker search`: a query, folders of vectors, and what comes first."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minireranker.errors import EmptyQueryError

from .rank import CODEC_HELP

if TYPE_CHECKING:
    from minireranker.engine.content import Query

__all__ = ["search"]

_Words = Annotated[str, typer.Argument(help='What is searched for; "" with --query-image.')]
_Vectors = Annotated[
    list[Path],
    typer.Option(
        metavar="DIR",
        help="Made by index --vectors. Several: of the same documents, by different encoders.",
    ),
]
_Encoder = Annotated[
    list[str] | None,
    typer.Option(metavar="KIND=PATH", help="Where an encoder is, if not where index had it."),
]
_Embedder = Annotated[
    str | None,
    typer.Option("--embedder", "-e", help="The same for pooled, smart and metaembed at once."),
]
_Model = Annotated[
    str | None, typer.Option("--model", "-m", help="A reranker's checkpoint, for the last stage.")
]
_Profile = Annotated[str, typer.Option(help="A profile's name, or a file that ends in .toml.")]
_Keep = Annotated[
    float | None, typer.Option(help="Share of visual tokens kept, instead of the profile's.")
]
_Folder = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="The reranker's entries, where index left them. Default: as of index.",
    ),
]
_Codec = Annotated[str, typer.Option(help=CODEC_HELP)]
_Count = Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many to show.")]
_Retrieve = Annotated[
    int | None, typer.Option(min=1, help="How many go on by pooled vectors. Default: 1000.")
]
_Rescore = Annotated[
    int | None, typer.Option(min=1, help="How many go on by token vectors. Default: 100.")
]
_Picture = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A picture to search with.")
]
_Task = Annotated[str | None, typer.Option(help="The task in one sentence, for the models.")]
_Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout instead.")]
_Html = Annotated[Path | None, typer.Option(dir_okay=False, help="Also write a report here.")]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
_Dtype = Annotated[
    str | None, typer.Option(help="auto, float32 ...; of encoders by default as index had it.")
]


def search(
    query: _Words,
    vectors: _Vectors,
    encoder: _Encoder = None,
    embedder: _Embedder = None,
    model: _Model = None,
    profile: _Profile = "mini",
    keep_ratio: _Keep = None,
    folder: _Folder = None,
    codec: _Codec = "exact",
    top_k: _Count = 10,
    retrieve: _Retrieve = None,
    rescore: _Rescore = None,
    query_image: _Picture = None,
    instruction: _Task = None,
    as_json: _Json = False,
    html: _Html = None,
    device: _Device = "auto",
    dtype: _Dtype = None,
) -> None:
    """Search what index --vectors made: pooled vectors, then token vectors, then the reranker.

    A stage that has no vectors, or no --model, is left out. Each sees only what the one before let
    through, so a --retrieve or --rescore below --top-k shows fewer.
    """
    from .search_models import SearchModels, SearchOptions
    from .search_output import check_report, report, show_json, show_text

    asked = _query(query, query_image)
    check_report(html)
    options = SearchOptions(
        *(vectors, encoder or [], embedder, model, profile, keep_ratio, folder, codec),
        *(top_k, retrieve, rescore, device, dtype),
    )
    with ExitStack() as stack:
        models = SearchModels.open(options, stack)
        result = models.cascade.search(asked, instruction=instruction)
        facts = models.facts()
    if as_json:
        show_json(asked, result, facts)
    else:
        show_text(result, facts)
    if html is not None:
        report(html, asked, result, facts, quiet=as_json)
    if not result.hits:
        raise typer.Exit(2)


def _query(text: str, image: Path | None) -> Query:
    from minireranker.engine.content import Query

    query = Query(text=text or None, image=image)
    if query.content.is_empty:
        raise EmptyQueryError(
            "the query has no words and no picture; write some words, or add --query-image FILE"
        )
    return query
