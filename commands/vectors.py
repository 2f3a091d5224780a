"""`minireranker vectors`: what is in an index of vectors, whether it is sound, what goes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from minireranker.errors import VectorIndexError

from .quantities import counted, shown_bytes

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

_Directory = Annotated[
    Path, typer.Argument(metavar="DIR", file_okay=False, help="The folder of index --vectors.")
]
_Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout instead.")]


@app.command()
def info(directory: _Directory, as_json: _Json = False) -> None:
    """Show how many documents there are, in which vectors, and what they take."""
    from minireranker.retrieval import VectorIndex

    with VectorIndex.open(directory) as index:
        settings = dataclasses.asdict(index.settings)
        found: dict[str, Any] = {"documents": len(index), **settings, "bytes": index.nbytes}
    if as_json:
        typer.echo(json.dumps(found))
        return
    sizes = found.pop("bytes")
    rows = {**found, "bytes": shown_bytes(sum(sizes.values()))}
    _show(directory, rows | {f"  {name}": shown_bytes(size) for name, size in sizes.items()})


@app.command()
def verify(directory: _Directory, as_json: _Json = False) -> None:
    """Read every byte and name the documents that are hit; exit code 1 if there are any.

    An index that cannot be opened is read too, as far as it goes.
    """
    from minireranker.retrieval import VectorIndex

    try:
        with VectorIndex.open(directory) as index:
            found = index.verify()
    except VectorIndexError:
        if not directory.is_dir():
            raise
        found = VectorIndex.examine(directory)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), default=str))
    else:
        typer.echo(str(found))
        if found.lost:
            typer.echo(f"to encode again: {', '.join(found.lost)}")
    if not found.sound:
        raise typer.Exit(1)


@app.command()
def delete(
    directory: _Directory, ids: Annotated[list[str], typer.Argument(metavar="ID...")]
) -> None:
    """Delete documents; their room is given back by compact."""
    from minireranker.retrieval import VectorIndex

    with VectorIndex.open(directory) as index:
        gone = index.delete(ids)
        typer.echo(
            f"deleted {counted(gone, 'document', 'documents')}, "
            f"{counted(len(ids) - gone, 'id was', 'ids were')} not there; {len(index):,} left"
        )


@app.command()
def compact(directory: _Directory) -> None:
    """Give back the room of deleted documents."""
    from minireranker.retrieval import VectorIndex

    with VectorIndex.open(directory) as index:
        before = sum(index.nbytes.values())
        index.compact()
        after = sum(index.nbytes.values())
    typer.echo(f"{shown_bytes(before)} before, {shown_bytes(after)} now")


def _show(directory: Path, rows: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(directory), title_justify="left", show_header=False, box=None)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if type(value) is int else str(value))
    Console().print(table)
