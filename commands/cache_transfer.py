"""`minireranker cache export` and `import`: entries from one machine to another, as a tar file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minireranker.errors import CacheError, ConfigurationError

from .cache_folder import CACHE_HELP, cache_folder, find_namespaces, open_cache
from .manifest import read_keys
from .quantities import counted, parse_bytes, shown_bytes

if TYPE_CHECKING:
    from minireranker.cache.transfer_import import Imported

__all__ = ["export_entries", "import_entries"]

_Folder = Annotated[Path | None, typer.Option("--cache", metavar="DIR", help=CACHE_HELP)]
_Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout instead.")]


def export_entries(
    out: Annotated[Path, typer.Argument(metavar="OUT.tar", help="The file to write.")],
    namespace: Annotated[
        list[str] | None, typer.Option(help="Only this one: the beginning of its name.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Only what index --manifest wrote here.")
    ] = None,
    folder: _Folder = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file at OUT.tar.")] = False,
    as_json: _Json = False,
) -> None:
    """Write entries, and what is known of their documents, into a tar file."""
    if namespace and manifest:
        raise ConfigurationError("--namespace and --manifest: give one of them, or none for all")
    if out.is_dir():
        raise ConfigurationError(f"{out} is a folder; name the file to write in it")
    if out.exists() and not force:
        raise ConfigurationError(f"{out} exists; name another file, or add --force to replace it")
    from minireranker.cache.transfer_export import export_archive

    from .cache_output import bytes_bar, say

    with open_cache(folder) as cache:
        names = [info.name for info in find_namespaces(cache, namespace)] if namespace else None
        keys = read_keys(manifest) if manifest else None
        if keys and not any(key in cache for key in keys):
            asked = counted(len(keys), "entry", "entries")
            raise CacheError(f"{cache.path} has none of the {asked} of {manifest}; see cache info")
        try:
            with bytes_bar("exporting", cache.stats.bytes or 0) as step:
                found = export_archive(cache, out, namespaces=names, keys=keys, step=step)
        except OSError as error:
            raise CacheError(
                f"{out} cannot be written: {error.strerror or error}; nothing was left there"
            ) from error
    if as_json:
        typer.echo(json.dumps({"path": str(out), **asdict(found)}))
        return
    gone = f"; {found.gone} not there" if found.gone else ""
    say(f"{out}: {counted(found.entries, 'entry', 'entries')}, {shown_bytes(found.bytes)}{gone}")


def import_entries(
    source: Annotated[Path, typer.Argument(metavar="IN.tar", help="A file that export wrote.")],
    folder: _Folder = None,
    disk_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="What the folder may hold from now on.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Ids that mean other content here get the archive's.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Take over entries and documents from a tar file; every entry is checked.

    Who wrote it decides what its documents score: import only from whom you trust with that.
    """
    size = None if disk_bytes is None else parse_bytes(disk_bytes, "--disk-bytes")
    if not source.exists():
        raise CacheError(f"{source} is not there; name a tar file written by cache export")
    from minireranker.cache.disk import DiskCache
    from minireranker.cache.transfer_import import import_archive

    from .cache_output import bytes_bar

    with (
        DiskCache(cache_folder(folder), max_bytes=size) as cache,
        bytes_bar("importing", source.stat().st_size) as step,
    ):
        found = import_archive(cache, source, replace=replace, step=step)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        _show(found)
    if found.refused and not found.entries and not found.present:
        raise typer.Exit(2)


def _show(found: Imported) -> None:
    from .cache_output import say

    say(f"imported {counted(found.entries, 'entry', 'entries')}, {shown_bytes(found.bytes)}")
    for count, one, many, what in (
        (found.present, "entry", "entries", "here already"),
        (found.documents, "document", "documents", "not known before"),
        (found.documents_kept, "id", "ids", "of other content here, left so; see --replace"),
        (found.unkept, "entry", "entries", "without room in the folder"),
        (found.refused, "member or line", "members or lines", "refused"),
    ):
        if count:
            say(f"{counted(count, one, many)} {what}")
    for reason in found.reasons:
        say(f"refused: {reason}", "red")
