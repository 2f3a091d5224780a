"""`minireranker serve`: the sidecar, with a flag for every setting."""

from __future__ import annotations

import dataclasses
import inspect
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from minireranker.errors import ConfigurationError
from minireranker.serve.config import ServeConfig

__all__ = ["serve"]

_PANELS = {
    "model": "Model",
    "cache": "Cache",
    "host": "Network",
    "tls_certificate": "Who may call",
    "queue_documents": "Queue",
    "url_hosts": "URLs and paths in requests (none are allowed by default)",
    "show_cache": "What is shown",
}
"""Titles of ``--help``, each by the first setting under it."""


def serve(config: Path | None, print_config: bool, **flags: Any) -> None:
    """Serve one model over gRPC and HTTP until told to stop.

    Settings come from a TOML file (--config), environment variables (MINIRERANKER_SERVE_HTTP_PORT
    and so on) and flags, each above the one before. Tokens have no flag, as others can read those:
    use MINIRERANKER_SERVE_TOKEN, or --tenants.
    """
    from minireranker.serve.config_sources import as_toml, settle

    settled = settle(config, os.environ, flags)
    if print_config:
        typer.echo(as_toml(settled), nl=False)
        return
    if not settled.config.model:
        raise ConfigurationError("no model: give --model DIR, or --model builtin to try it out")
    if settled.config.grpc_port is None and settled.config.http_port is None:
        raise ConfigurationError("both ports are off: give --grpc-port, --http-port or both")
    from minireranker.serve.process import run

    raise typer.Exit(run(settled.config))


def _parameters() -> list[inspect.Parameter]:
    """What Typer is shown as the signature: a flag a setting, None where it is not given."""
    file = typer.Option(exists=True, dir_okay=False, help="A TOML file of settings.")
    shown = typer.Option("--print-config", help="Print every setting and its origin, and stop.")
    parameters = [
        _parameter("config", Annotated[Path | None, file], None),
        _parameter("print_config", Annotated[bool, shown], False),
    ]
    panel = ""
    for spec in dataclasses.fields(ServeConfig):
        panel = _PANELS.get(spec.name, panel)
        if not spec.metadata.get("secret"):
            parameters.append(_parameter(spec.name, _annotation(spec, panel), None))
    return parameters


def _annotation(spec: dataclasses.Field[Any], panel: str) -> Any:
    """Text, whatever the type: flags and variables are read by the same rules."""
    default = _shown(spec.default)
    words = f"{spec.metadata['help']} ({default})"
    option = typer.Option(help=words, rich_help_panel=panel, show_default=False, metavar="VALUE")
    if str(spec.type) == "bool":
        option.metavar = None
        return Annotated[bool | None, option]
    if str(spec.type).startswith("tuple"):
        return Annotated[list[str] | None, option]
    return Annotated[str | None, option]


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ", ".join(map(str, default)) or "none"
    return {None: "off", True: "on", False: "off"}.get(default, str(default) or "none")


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=annotation)


serve.__signature__ = inspect.Signature(_parameters())  # type: ignore[attr-defined]
serve.__annotations__ = {item.name: item.annotation for item in _parameters()}
