"""What the `cache` commands show: a table for people, JSON for programs, bars of bytes."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from minireranker.errors import CacheError

from .printable import printable
from .quantities import counted, shown_bytes

if TYPE_CHECKING:
    from minireranker.cache.disk import DiskCache
    from minireranker.cache.verify import VerifyReport

__all__ = ["bytes_bar", "describe", "say", "show_info", "show_verified"]

_MOST_NAMED = 20


def describe(cache: DiskCache) -> dict[str, Any]:
    """All that `info` tells, as JSON."""
    spaces = sorted(cache.namespaces(), key=lambda space: -space.bytes)
    held = sum(space.bytes for space in spaces)
    documents = _documents(cache)
    return {
        "path": str(cache.path),
        "read_only": cache.read_only,
        "max_bytes": cache.max_bytes,
        "bytes": held,
        "entries": sum(space.entries for space in spaces),
        "free_bytes": shutil.disk_usage(cache.path).free,
        "pinned": sum(space.pinned for space in spaces),
        "documents": sum(documents.values()),
        "namespaces": [
            {
                "name": space.name,
                "label": space.label,
                "tenant": space.tenant,
                "entries": space.entries,
                "bytes": space.bytes,
                "share": space.bytes / held if held else 0.0,
                "pinned": space.pinned,
                "documents": documents.get(space.name, 0),
                "created": space.created,
            }
            for space in spaces
        ],
    }


def show_info(found: dict[str, Any]) -> None:
    """The folder in one table, its namespaces in another, on stdout."""
    console = Console()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    budget = shown_bytes(found["max_bytes"])
    share = found["bytes"] / found["max_bytes"] if found["max_bytes"] else 0.0
    for name, value in (
        ("folder", printable(found["path"]) + (" (read-only)" if found["read_only"] else "")),
        ("used", f"{shown_bytes(found['bytes'])} of {budget} ({100 * share:.1f} %)"),
        ("free on disk", shown_bytes(found["free_bytes"])),
        ("entries", f"{found['entries']:,}, of which {found['pinned']:,} pinned"),
        ("documents", f"{found['documents']:,}"),
    ):
        table.add_row(name, Text(value))
    console.print(table)
    if found["namespaces"]:
        console.print(_namespaces(found["namespaces"]))


def show_verified(report: VerifyReport, repair: bool, as_json: bool) -> None:
    """What was found, problem by problem, and what was done about it."""
    if as_json:
        found = {**dataclasses.asdict(report), "problems": report.problems, "repaired": repair}
        typer.echo(json.dumps(found))
        return
    problems = counted(report.problems, "problem", "problems")
    read = f"{counted(report.checked, 'entry', 'entries')} read, {shown_bytes(report.bytes)}"
    say(f"{read}; {problems}")
    removed, entered = ("removed", "entered") if repair else ("still there", "not entered")
    for keys, what in (
        (report.corrupt, f"damaged entry, {removed}"),
        (report.foreign, "not of this cache, or unreadable; left alone"),
    ):
        for name in keys[:_MOST_NAMED]:
            say(f"{name}: {what}", "red")
        if len(keys) > _MOST_NAMED:
            say(f"and {len(keys) - _MOST_NAMED} more: {what}", "red")
    for count, one, many, done in (
        (report.adopted, "sound file", "sound files", f"not in the index; {entered}"),
        (report.lost_rows, "entry", "entries", f"in the index without a file; {removed}"),
        (report.temporary, "leftover", "leftovers", f"of a writer that died; {removed}"),
    ):
        if count:
            say(f"{counted(count, one, many)} {done}", "yellow")


def say(line: str, style: str = "") -> None:
    """A line on stdout, whatever is in it."""
    Console().print(Text(printable(line), style=style), soft_wrap=True)


@contextmanager
def bytes_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of bytes on stderr, if that is a terminal; gives what is to be told the bytes done."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.update(task, advance=count)


def _documents(cache: DiskCache) -> dict[str, int]:
    """How many documents are known, by namespace."""
    sql = "SELECT namespace, count(*) FROM documents GROUP BY namespace"
    try:
        return dict(cache.database.query(sql))
    except sqlite3.Error as error:
        raise CacheError(
            f"the index of the cache {cache.path} cannot be read ({error}); run cache verify"
        ) from error


def _namespaces(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("namespace", no_wrap=True)
    table.add_column("label", overflow="fold")
    if any(row["tenant"] for row in rows):
        table.add_column("tenant", overflow="fold")
    for name in ("documents", "entries", "bytes", "share", "pinned"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cells = [Text(row["name"][:12]), Text(printable(row["label"]))]
        if any(other["tenant"] for other in rows):
            cells.append(Text(printable(row["tenant"])))
        numbers = (
            f"{row['documents']:,}",
            f"{row['entries']:,}",
            shown_bytes(row["bytes"]),
            f"{100 * row['share']:.1f} %",
            f"{row['pinned']:,}",
        )
        table.add_row(*cells, *numbers)
    return table
