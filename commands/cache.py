"""`minireranker cache`: what is kept in the folder, whether it is sound, what stays, what goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minireranker.errors import CacheError, ConfigurationError

from .cache_folder import CACHE_HELP, find_namespaces, one_folder, open_cache
from .cache_transfer import export_entries, import_entries
from .manifest import read_keys
from .quantities import counted, parse_bytes, parse_duration, shown_bytes

if TYPE_CHECKING:
    from minireranker.cache.disk import DiskCache

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

_Directory = Annotated[Path | None, typer.Argument(metavar="DIR", help=CACHE_HELP)]
_Folder = Annotated[Path | None, typer.Option("--cache", metavar="DIR", help=CACHE_HELP)]
_Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout instead.")]
_Manifest = Annotated[
    Path | None, typer.Option(dir_okay=False, help="The entries in a file of index --manifest.")
]
_Namespace = Annotated[
    str | None, typer.Option(help="The entries of a namespace: the beginning of its name.")
]
_Keys = Annotated[list[str] | None, typer.Argument(metavar="KEY...", help="Keys of entries.")]


@app.command()
def info(directory: _Directory = None, folder: _Folder = None, as_json: _Json = False) -> None:
    """Show how full the cache is, and what is in it by namespace."""
    from .cache_output import describe, show_info

    with open_cache(one_folder(directory, folder)) as cache:
        found = describe(cache)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        show_info(found)


@app.command()
def verify(
    directory: _Directory = None,
    folder: _Folder = None,
    repair: Annotated[
        bool, typer.Option("--repair/--no-repair", help="Mend what is wrong, or only name it.")
    ] = True,
    as_json: _Json = False,
) -> None:
    """Read every entry and check it; remove what is damaged and what nobody owns.

    Exits with 1 if anything was wrong, mended or not.
    """
    from minireranker.cache.verify import verify as check

    from .cache_output import bytes_bar, show_verified

    with open_cache(one_folder(directory, folder)) as cache:
        repair = repair and not cache.read_only
        with bytes_bar("verifying", cache.stats.bytes or 0) as step:
            report = check(cache, step, repair=repair)
    show_verified(report, repair, as_json)
    if report.problems:
        raise typer.Exit(1)


@app.command()
def prune(
    directory: _Directory = None,
    folder: _Folder = None,
    max_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Down to this size, for instance 10GB.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="What was made longer ago, e.g. 30d.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove entries, the least recently used first. Pinned ones stay."""
    if everything == (max_bytes is not None or older_than is not None):
        raise ConfigurationError("give --max-bytes SIZE, --older-than TIME (or both), or --all")
    size = 0 if everything else None
    if max_bytes is not None:
        size = parse_bytes(max_bytes, "--max-bytes")
    age = None if older_than is None else parse_duration(older_than, "--older-than")
    from .cache_output import say
    from .cache_plan import plan

    with open_cache(one_folder(directory, folder)) as cache:
        _check_writable(cache)
        planned = plan(cache.entries(), size, age)
        say(f"{planned}{'' if dry_run else '; removing them'}")
        if not dry_run:
            count = cache.prune(max_bytes=size, older_than=age)
            say(f"removed {counted(count, 'entry', 'entries')}")
            if planned.entries and not count:
                raise typer.Exit(1)


@app.command()
def drop(
    namespaces: Annotated[
        list[str] | None, typer.Argument(metavar="NAMESPACE...", help="Beginnings of names.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="NAMESPACE", help="Drop all but these.")
    ] = None,
    folder: _Folder = None,
) -> None:
    """Remove whole namespaces: their entries, pinned ones too, and what is known of documents."""
    if bool(namespaces) == bool(keep):
        raise ConfigurationError("name namespaces to drop, or --keep those that stay")
    from .cache_output import say

    with open_cache(folder) as cache:
        _check_writable(cache)
        chosen = find_namespaces(cache, namespaces or [])
        if keep:
            kept = {info.name for info in find_namespaces(cache, keep)}
            chosen = [info for info in cache.namespaces() if info.name not in kept]
        for info in chosen:
            cache.drop(info.name)
            gone = f"{counted(info.entries, 'entry', 'entries')}, {shown_bytes(info.bytes)}"
            say(f"dropped {info.name}: {gone}; {info.label}")
        if not chosen:
            say("nothing to drop")
        left = {info.name for info in cache.namespaces()} & {info.name for info in chosen}
        if left:
            say(
                f"not dropped whole: {', '.join(sorted(left))}; make room on the disk and try again"
            )
            raise typer.Exit(1)


@app.command()
def pin(
    keys: _Keys = None,
    manifest: _Manifest = None,
    namespace: _Namespace = None,
    folder: _Folder = None,
) -> None:
    """Keep entries from being evicted when room is needed."""
    from .cache_output import say

    with open_cache(folder) as cache:
        chosen = _keys(cache, keys, manifest, namespace)
        say(_changed("pinned", cache.pin(chosen), len(chosen), cache))


@app.command()
def unpin(
    keys: _Keys = None,
    manifest: _Manifest = None,
    namespace: _Namespace = None,
    folder: _Folder = None,
) -> None:
    """Let entries be evicted again."""
    from .cache_output import say

    with open_cache(folder) as cache:
        chosen = _keys(cache, keys, manifest, namespace)
        say(_changed("unpinned", cache.unpin(chosen), len(chosen), cache))


def _keys(
    cache: DiskCache, keys: Sequence[str] | None, manifest: Path | None, namespace: str | None
) -> list[str]:
    """The keys that were meant, in the one way that was used. Raises ConfigurationError."""
    _check_writable(cache)
    if sum(map(bool, (keys, manifest, namespace))) != 1:
        raise ConfigurationError("give one of --manifest FILE, --namespace NAMESPACE, KEY...")
    if manifest is not None:
        return read_keys(manifest)
    if namespace is not None:
        (found,) = find_namespaces(cache, [namespace])
        return [entry.key for entry in cache.entries(found.name)]
    from minireranker.cache import KEY_PATTERN

    strange = [key for key in keys or () if not KEY_PATTERN.fullmatch(key)]
    if strange:
        raise ConfigurationError(
            f"{strange[0]!r} is no key: 32 hex digits, a dash and 64 more, as in a manifest"
        )
    return list(keys or ())


def _changed(done: str, count: int, wanted: int, cache: DiskCache) -> str:
    if not count:
        asked = counted(wanted, "entry", "entries")
        raise CacheError(f"{cache.path} has none of the {asked} asked for; see cache info")
    gone = f"; {wanted - count} not there" if count < wanted else ""
    return f"{done} {counted(count, 'entry', 'entries')}{gone}"


def _check_writable(cache: DiskCache) -> None:
    if cache.read_only:
        raise CacheError(f"the cache {cache.path} can only be read here; ask its owner")


app.command("export")(export_entries)
app.command("import")(import_entries)
