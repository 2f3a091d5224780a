"""`minireranker client …`: ask a server that runs elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minireranker.errors import InputError

from .quantities import counted

if TYPE_CHECKING:
    from minireranker.serve.client import Client

__all__ = ["app"]

app = typer.Typer(help="Ask a server that runs elsewhere.", no_args_is_help=True)

_TOKEN = "MINIRERANKER_CLIENT_TOKEN"

_Server = Annotated[
    str,
    typer.Option(
        "--server", "-s", metavar="HOST:PORT", help=f"Of gRPC. Its token, if any, is in {_TOKEN}."
    ),
]
_Tls = Annotated[bool, typer.Option("--tls", help="Over TLS; so it is with any --tls-… file.")]
_Authority = Annotated[
    Path | None,
    typer.Option("--tls-ca", exists=True, dir_okay=False, help="PEM authorities of the server."),
]
_Certificate = Annotated[
    Path | None,
    typer.Option("--tls-certificate", exists=True, dir_okay=False, help="PEM chain to show it."),
]
_Key = Annotated[
    Path | None, typer.Option("--tls-key", exists=True, dir_okay=False, help="PEM key of that.")
]
_Timeout = Annotated[
    float, typer.Option(min=0.0, help="Seconds for each call and its repetitions; 0: no limit.")
]
_Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout instead.")]
_Files = Annotated[
    list[str] | None,
    typer.Argument(help="Folders, patterns in quotes, and files, as of `minireranker rank`."),
]
_Ids = Annotated[
    list[str] | None, typer.Option("--id", help="A document that was indexed; may be repeated.")
]
_LOCAL = "localhost:50051"


@app.command()
def rank(
    query: Annotated[str, typer.Argument(help='What is searched for; "" with --query-image.')],
    sources: _Files = None,
    ids: _Ids = None,
    query_image: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A picture to search with.")
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=0, help="0 is all.")] = 10,
    instruction: Annotated[str | None, typer.Option(help="The task in one sentence.")] = None,
    json: _Json = False,
    server: _Server = _LOCAL,
    tls: _Tls = False,
    ca: _Authority = None,
    certificate: _Certificate = None,
    key: _Key = None,
    timeout: _Timeout = 60.0,
) -> None:
    """Rank files, or documents the server knows, by how well they answer a query."""
    from minireranker.serve.client_messages import Id

    from .client_output import readable, show_ranking

    documents, failed = readable(_documents(sources))
    documents += [Id(name) for name in ids or ()]
    asked = {"text": query or None, "image": query_image}
    with _client(server, tls, ca, certificate, key, timeout) as client:
        outcome = client.rank(asked, documents, top_k=top_k or None, instruction=instruction)
    show_ranking(outcome, [*failed, *outcome.failed], is_json=json)
    if not outcome.results:
        raise typer.Exit(2)


@app.command()
def index(
    sources: _Files = None,
    instruction: Annotated[str | None, typer.Option(help="The task in one sentence.")] = None,
    json: _Json = False,
    server: _Server = _LOCAL,
    tls: _Tls = False,
    ca: _Authority = None,
    certificate: _Certificate = None,
    key: _Key = None,
    timeout: _Timeout = 600.0,
) -> None:
    """Upload files, to be ranked by their ids (their paths below what is named) from then on."""
    from .client_output import readable, show_ids

    documents, failed = readable(_documents(sources))
    with _client(server, tls, ca, certificate, key, timeout) as client:
        outcome = client.index(documents, instruction=instruction)
    show_ids(outcome, [*failed, *outcome.failed], is_json=json)
    if failed or outcome.failed:
        raise typer.Exit(2)


@app.command()
def evict(
    ids: Annotated[list[str], typer.Argument(help="Ids of documents.")],
    server: _Server = _LOCAL,
    tls: _Tls = False,
    ca: _Authority = None,
    certificate: _Certificate = None,
    key: _Key = None,
    timeout: _Timeout = 60.0,
) -> None:
    """Make the server forget documents."""
    with _client(server, tls, ca, certificate, key, timeout) as client:
        known = client.evict(ids)
    typer.echo(f"{counted(known, 'document', 'documents')} forgotten, {len(ids) - known} unknown")


@app.command()
def info(
    server: _Server = _LOCAL,
    tls: _Tls = False,
    ca: _Authority = None,
    certificate: _Certificate = None,
    key: _Key = None,
    timeout: _Timeout = 60.0,
) -> None:
    """Model, limits and load of the server, as JSON."""
    from .client_output import show_info

    with _client(server, tls, ca, certificate, key, timeout) as client:
        show_info(client.info())


def _documents(sources: list[str] | None) -> Iterable[Any]:
    if not sources:
        return ()
    from minireranker.configs import Limits

    from .sources import find_files, read_documents

    return read_documents(find_files(sources), Limits().max_pixels)


def _client(
    server: str,
    tls: bool,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    timeout: float,
) -> Client:
    """Raises ConfigurationError, and InputError for an address without a port."""
    from minireranker.serve.client import Client
    from minireranker.serve.client_options import ClientOptions

    if not server.rpartition(":")[2].isdecimal():
        raise InputError(f"--server {server}: has no port; write HOST:PORT")
    options = ClientOptions(
        token=os.environ.get(_TOKEN) or None,
        tls=tls,
        ca=ca,
        certificate=certificate,
        key=key,
        timeout=timeout or None,
    )
    return Client(server, options)
