"""How every subcommand of `minireranker client` reaches its server: the same options for each."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

from minireranker.errors import InputError

if TYPE_CHECKING:
    from minireranker.serve.client import Client

__all__ = ["TOKEN_VARIABLE", "Connection", "connected"]

_P = ParamSpec("_P")
TOKEN_VARIABLE = "MINIRERANKER_CLIENT_TOKEN"
"""Of the environment: the token that a server is asked with."""
_PANEL = "Connection"


def _file(words: str) -> Any:
    return typer.Option(exists=True, dir_okay=False, help=words, rich_help_panel=_PANEL)


@dataclass(frozen=True)
class Connection:
    """What the options say; a field an option."""

    server: Annotated[
        str,
        typer.Option(
            *("--server", "-s"),
            metavar="HOST:PORT",
            help=f"Of gRPC. Its token, if any, is in {TOKEN_VARIABLE}.",
            rich_help_panel=_PANEL,
        ),
    ] = "localhost:50051"
    tls: Annotated[
        bool,
        typer.Option(
            "--tls", help="Over TLS; so it is with any --tls-… file.", rich_help_panel=_PANEL
        ),
    ] = False
    tls_ca: Annotated[Path | None, _file("PEM authorities of the server.")] = None
    tls_certificate: Annotated[Path | None, _file("PEM chain to show it.")] = None
    tls_key: Annotated[Path | None, _file("PEM key of that.")] = None
    timeout: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Seconds for each call and its repetitions; 0: no limit.",
            rich_help_panel=_PANEL,
        ),
    ] = 60.0

    def client(self) -> Client:
        """Raises ConfigurationError, and InputError for an address without a port."""
        from minireranker.serve.client import Client
        from minireranker.serve.client_options import ClientOptions

        if not self.server.rpartition(":")[2].isdecimal():
            raise InputError(f"--server {self.server}: has no port; write HOST:PORT")
        options = ClientOptions(
            token=os.environ.get(TOKEN_VARIABLE) or None,
            tls=self.tls,
            ca=self.tls_ca,
            certificate=self.tls_certificate,
            key=self.tls_key,
            timeout=self.timeout or None,
        )
        return Client(self.server, options)


def connected(
    command: Callable[Concatenate[Connection, _P], None], *, timeout: float = 60.0
) -> Callable[_P, None]:
    """A command for Typer out of one that takes a ``Connection`` first: its options come last.

    ``timeout``: the default of that option.
    """
    shared = list(inspect.signature(Connection, eval_str=True).parameters.values())
    names = [parameter.name for parameter in shared]

    def with_options(*args: _P.args, **given: _P.kwargs) -> None:
        connection = Connection(**{name: given.pop(name) for name in names})  # type: ignore[arg-type]
        command(connection, *args, **given)

    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    changed = {"timeout": timeout}
    parameters = [
        *own,
        *(each.replace(default=changed.get(each.name, each.default)) for each in shared),
    ]
    with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options
