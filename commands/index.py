"""`minireranker index`: read a corpus once, ahead of every query."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minireranker.errors import CacheError, ConfigurationError

from .cache_folder import CACHE_HELP, cache_folder
from .manifest import check_manifest, write_manifest
from .quantities import parse_bytes, parse_duration
from .rank import CODEC_HELP, SOURCES_HELP, KeepOption, load_reranker

if TYPE_CHECKING:
    from minireranker.cache import Cache
    from minireranker.engine import Document, Indexed, Reranker

    from .index_output import IndexRun

__all__ = ["index"]

_Sources = Annotated[list[str], typer.Argument(help=SOURCES_HELP)]
_Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A reranker's checkpoint; not needed with --vectors."),
]
_Embedder = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        "-e",
        help="An embedding checkpoint: says which visual tokens to keep, and makes --vectors.",
    ),
]
_Profile = Annotated[str, typer.Option(help="A profile's name, or a file that ends in .toml.")]
_Folder = Annotated[Path | None, typer.Option("--cache", metavar="DIR", help=CACHE_HELP)]
_Codec = Annotated[str, typer.Option(help=CODEC_HELP)]
_Size = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="What the folder may hold; at first 32GiB, then as before."),
]
_Age = Annotated[
    str | None, typer.Option(metavar="TIME", help="Read again what is older, for instance 30d.")
]
_Task = Annotated[str | None, typer.Option(help="The task in one sentence, for the model.")]
_Manifest = Annotated[
    Path | None, typer.Option(help="Write what became of each document here, as JSON Lines.")
]
_Delete = Annotated[
    bool,
    typer.Option("--delete-missing", help="Forget documents that are not in SOURCES any more."),
]
_Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout instead.")]
_Vectors = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Also write vectors for search into this folder."),
]
_Late = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="What --embedder makes of a document: pooled, smart, metaembed or colmodernvbert. "
        "Default: as in DIR, at first smart.",
    ),
]
_Adapter = Annotated[
    Path | None,
    typer.Option(dir_okay=False, help="Of smart: a file of train smart. Default: as in DIR."),
]
_VectorDtype = Annotated[
    str | None,
    typer.Option(help="Of token vectors: int8, bfloat16 or float32; at first bfloat16."),
]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
_Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 ...")]


def index(
    sources: _Sources,
    model: _Model = None,
    profile: _Profile = "mini",
    embedder: _Embedder = None,
    keep_ratio: KeepOption = None,
    folder: _Folder = None,
    codec: _Codec = "exact",
    disk_bytes: _Size = None,
    ttl: _Age = None,
    instruction: _Task = None,
    manifest: _Manifest = None,
    delete_missing: _Delete = False,
    as_json: _Json = False,
    vectors: _Vectors = None,
    late: _Late = None,
    adapter: _Adapter = None,
    vector_dtype: _VectorDtype = None,
    device: _Device = "auto",
    dtype: _Dtype = "auto",
) -> None:
    """Read documents into the cache's folder, where rank finds them, and into vectors for search.

    What is there already is skipped; files that have not changed are not opened.
    Running it again after an interruption goes on where it was.
    """
    from .index_output import show_json, show_text
    from .sources import find_files, read_documents

    size = None if disk_bytes is None else parse_bytes(disk_bytes, "--disk-bytes")
    age = None if ttl is None else parse_duration(ttl, "--ttl")
    check_manifest(manifest)
    files = find_files(sources)
    if vectors is not None:
        _check_alone(model, folder, size, age)
        from .index_vectors import index_vectors
        from .vector_options import VectorOptions

        options = VectorOptions(
            vectors,
            late,
            adapter,
            embedder,
            vector_dtype,
            model,
            profile,
            keep_ratio,
            device,
            dtype,
        )
        with nullcontext() if model is None else _open(folder, codec, size, age) as kept:
            index_vectors(files, options, kept, instruction, delete_missing, manifest, as_json)
        return
    if model is None or any(given is not None for given in (late, adapter, vector_dtype)):
        raise ConfigurationError(
            "say what to make of the documents: a reranker's entries with --model CHECKPOINT, "
            "vectors for search with --vectors DIR --embedder CHECKPOINT, or both"
        )
    with _open(folder, codec, size, age) as cache:
        reranker = load_reranker(model, profile, embedder, keep_ratio, device, dtype, cache)
        documents = read_documents(files, reranker.profile.limits.max_pixels)
        run = _run(reranker, documents, instruction, model, delete_missing)
        if manifest is not None:
            write_manifest(manifest, run.summary(), run.rows(documents))
    (show_json if as_json else show_text)(run)
    if not run.indexed:
        raise typer.Exit(2)
    if run.unkept:
        raise typer.Exit(1)


def _check_alone(
    model: str | None, folder: Path | None, size: int | None, age: float | None
) -> None:
    """Without a reranker there is no cache. Raises ConfigurationError for options of one."""
    given = {"--cache": folder, "--disk-bytes": size, "--ttl": age}
    if model is None and (names := [name for name in given if given[name] is not None]):
        raise ConfigurationError(
            f"{', '.join(names)}: vectors alone need no cache; add --model CHECKPOINT, or leave "
            "that out"
        )


def _open(folder: Path | None, codec: str, size: int | None, ttl: float | None) -> Cache:
    from minireranker.cache import Cache

    cache = Cache(cache_folder(folder), codec=codec, disk_bytes=size, ttl=ttl)
    assert cache.disk is not None, "it has a folder"
    if cache.disk.read_only:
        cache.close()
        raise CacheError(
            f"the cache {cache.disk.path} cannot be written; name another with --cache DIR"
        )
    return cache


def _run(
    reranker: Reranker,
    documents: Sequence[Document],
    instruction: str | None,
    model: str,
    delete_missing: bool,
) -> IndexRun:
    from .index_output import IndexRun, facts_of
    from .unreadable import tells_all

    before, start = _sizes(reranker), time.perf_counter()
    try:
        found = reranker.index(documents, instruction=instruction)
    except KeyboardInterrupt:
        typer.echo(
            "stopped: what was read so far is kept; run the same command again to go on from there",
            err=True,
        )
        raise
    forgets = delete_missing and any(found.ids) and tells_all(documents)
    deleted = _delete_missing(reranker, found) if forgets else 0
    seconds, after = time.perf_counter() - start, _sizes(reranker)
    written = sum(size for key, size in after.items() if key not in before)
    facts = {"model": model, "instruction": instruction, **facts_of(reranker)}
    return IndexRun(found, facts, after, written, deleted, seconds)


def _sizes(reranker: Reranker) -> dict[str, int]:
    """Bytes of every entry in the folder, by key, of this model and profile."""
    disk = reranker.cache.disk
    assert disk is not None, "it was opened with a folder"
    return {info.key: info.bytes for info in disk.entries(reranker.namespace.name)}


def _delete_missing(reranker: Reranker, found: Indexed) -> int:
    """Forget what was not among the documents; one that failed was among them."""
    present = {str(name) for name in found.ids if name is not None}
    present |= {failed.id for failed in found.failed if failed.id is not None}
    return reranker.delete([name for name in reranker.indexed() if name not in present])
