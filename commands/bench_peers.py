"""``minireranker bench peers``: the other rerankers that a latency run can stand beside."""

from __future__ import annotations

from typing import Annotated

import typer

from minireranker.errors import ConfigurationError

from .bench_output import clock

__all__ = ["peers"]

peers = typer.Typer(
    help="Other rerankers, each in an environment of its own.", no_args_is_help=True
)


@peers.command("list")
def list_() -> None:
    """Which peers there are, what each can do, and whether it can run here."""
    from rich.console import Console
    from rich.table import Table

    from minireranker.bench.peers import available

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("peer", "methods", "here"):
        table.add_column(column)
    for spec in available().values():
        own = "in an environment of its own" if spec.in_venv else "in this environment"
        table.add_row(spec.name, ", ".join(spec.methods), spec.absence or own)
    Console().print(table)


@peers.command()
def install(
    names: Annotated[list[str], typer.Argument(help="Peers, as `bench peers list` names them.")],
    index: Annotated[
        list[str] | None,
        typer.Option(help="A package index for pip to look at beside its own; several times."),
    ] = None,
) -> None:
    """Make peers' environments: gigabytes each. What was begun and broken off is finished."""
    from minireranker.bench.peers import available
    from minireranker.bench.peers.environment import Environment, environments
    from minireranker.bench.peers.install import install as make

    known = available()
    for name in names:
        if name not in known:
            raise ConfigurationError(f"there is no peer {name!r}: use some of {', '.join(known)}")
    say = clock()
    for name in names:
        make(Environment(name, environments()), say, indexes=index or ())
