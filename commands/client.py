"""`minireranker client …`: ask a server that runs elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .client_connection import Connection, connected
from .quantities import counted

if TYPE_CHECKING:
    from minireranker.serve.jobs import Failed

__all__ = ["app"]

app = typer.Typer(help="Ask a server that runs elsewhere.", no_args_is_help=True)

_UPLOAD_SECONDS = 600.0

_Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout instead.")]
_Instruction = Annotated[str | None, typer.Option(help="The task in one sentence.")]
_Files = Annotated[
    list[str] | None,
    typer.Argument(help="Folders, patterns in quotes, and files, as of `minireranker rank`."),
]
_Ids = Annotated[
    list[str] | None, typer.Option("--id", help="A document that was indexed; may be repeated.")
]
_Picture = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A picture to search with.")
]


def rank(
    connection: Connection,
    query: Annotated[str, typer.Argument(help='What is searched for; "" with --query-image.')],
    sources: _Files = None,
    ids: _Ids = None,
    query_image: _Picture = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=0, help="0 is all.")] = 10,
    instruction: _Instruction = None,
    json: _Json = False,
) -> None:
    """Rank files, or documents the server knows, by how well they answer a query."""
    from minireranker.serve.client_messages import Id

    from .client_output import readable, show_ranking

    failed: list[Failed] = []
    documents = [*readable(_documents(sources), failed), *map(Id, ids or ())]
    asked = {"text": query or None, "image": query_image}
    with connection.client() as client:
        outcome = client.rank(asked, documents, top_k=top_k or None, instruction=instruction)
    show_ranking(outcome, [*failed, *outcome.failed], is_json=json)
    if not outcome.results:
        raise typer.Exit(2)


def index(
    connection: Connection,
    sources: _Files = None,
    instruction: _Instruction = None,
    json: _Json = False,
) -> None:
    """Upload files, to be ranked by their ids (their paths below what is named) from then on."""
    from .client_output import readable, show_ids

    failed: list[Failed] = []
    documents = readable(_documents(sources), failed)
    with connection.client() as client:
        outcome = client.index(documents, instruction=instruction)
    show_ids(outcome, [*failed, *outcome.failed], is_json=json)
    if failed or outcome.failed:
        raise typer.Exit(2)


def evict(
    connection: Connection,
    ids: Annotated[list[str], typer.Argument(help="Ids of documents.")],
) -> None:
    """Make the server forget documents."""
    with connection.client() as client:
        known = client.evict(ids)
    typer.echo(f"{counted(known, 'document', 'documents')} forgotten, {len(ids) - known} unknown")


def info(connection: Connection) -> None:
    """Model, limits and load of the server, as JSON."""
    from .client_output import show_info

    with connection.client() as client:
        show_info(client.info())


def _documents(sources: list[str] | None) -> Iterable[Any]:
    if not sources:
        return ()
    from minireranker.configs import Limits

    from .sources import find_files, read_documents

    return read_documents(find_files(sources), Limits().max_pixels)


app.command()(connected(rank))
app.command()(connected(index, timeout=_UPLOAD_SECONDS))
app.command()(connected(evict))
app.command()(connected(info))
