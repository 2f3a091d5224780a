"""`minireranker index --vectors`: a corpus's vectors, and entries in the same pass."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .encoders import EncoderPlace, Loader
from .manifest import write_manifest
from .sources import SourceFile, read_documents
from .unreadable import tells_all
from .vector_options import (
    VectorOptions,
    encoder_place,
    guided_reranker,
    opened_index,
    page_pixels,
)

if TYPE_CHECKING:
    from minireranker.cache import Cache
    from minireranker.engine import Document, Reranker
    from minireranker.retrieval.built import Built
    from minireranker.retrieval.late_interaction import LateInteraction
    from minireranker.retrieval.vector_index import VectorIndex

    from .index_vectors_output import VectorRun

__all__ = ["index_vectors"]


@dataclass
class _Work:
    """One run's models and folders."""

    options: VectorOptions
    place: EncoderPlace
    encoder: LateInteraction
    index: VectorIndex
    reranker: Reranker | None


def index_vectors(
    files: Sequence[SourceFile],
    options: VectorOptions,
    cache: Cache | None,
    instruction: str | None,
    delete_missing: bool,
    manifest: Path | None,
    as_json: bool,
) -> None:
    """Build the index, and with a cache the reranker's entries; show what was done.

    Raises whatever is wrong with the options, and as ``build_index`` does.
    """
    from .index_vectors_output import show_json, show_text

    place = encoder_place(options)
    encoder = Loader(options.device).load(place)
    reranker = None if cache is None else guided_reranker(options, encoder, cache)
    documents = read_documents(files, page_pixels(encoder, reranker))
    with opened_index(options, encoder) as index:
        place.write(index.path)
        work = _Work(options, place, encoder, index, reranker)
        run = _run(work, documents, instruction, delete_missing)
    if manifest is not None:
        write_manifest(manifest, run.summary(), run.rows(documents))
    (show_json if as_json else show_text)(run)
    if not run.indexed:
        raise typer.Exit(2)
    if run.unkept:
        raise typer.Exit(1)


def _run(
    work: _Work, documents: Sequence[Document], instruction: str | None, delete_missing: bool
) -> VectorRun:
    from minireranker.retrieval.building import build_index

    from .index_vectors_output import VectorRun

    before, start = _sizes(work.reranker), time.perf_counter()
    try:
        built = build_index(
            documents,
            work.encoder,
            work.index,
            reranker=work.reranker,
            instruction=instruction,
        )
    except KeyboardInterrupt:
        typer.echo(
            "stopped: what was read so far is kept; run the same command again to go on from there",
            err=True,
        )
        raise
    forgets = delete_missing and any(built.ids) and tells_all(documents)
    deleted = _delete_missing(work, built) if forgets else 0
    seconds, after = time.perf_counter() - start, _sizes(work.reranker)
    written = sum(size for key, size in after.items() if key not in before)
    facts = _facts(work) | {"instruction": instruction}
    return VectorRun(built, facts, work.index.nbytes, after, written, deleted, seconds)


def _facts(work: _Work) -> dict[str, Any]:
    from .index_output import facts_of

    index, reranker = work.index, work.reranker
    return {
        "vectors": str(index.path),
        "late": index.settings.encoder,
        "embedder": work.place.path,
        "vector_dtype": index.settings.dtype,
        "identity": index.settings.identity,
        "vectors_in_index": len(index),
        "model": work.options.model,
        **({} if reranker is None else facts_of(reranker)),
    }


def _sizes(reranker: Reranker | None) -> dict[str, int]:
    """Bytes of every entry in the cache's folder, by key, of this model and profile."""
    if reranker is None:
        return {}
    disk = reranker.cache.disk
    assert disk is not None, "it was opened with a folder"
    return {info.key: info.bytes for info in disk.entries(reranker.namespace.name)}


def _delete_missing(work: _Work, built: Built) -> int:
    """Forget what was not among the documents; one that failed was among them."""
    present = {str(name) for name in built.ids if name is not None}
    present |= {failed.id for failed in built.failed if failed.id is not None}
    gone = [name for name in work.index.ids if name not in present]
    if work.reranker is not None:
        known = work.reranker.indexed()
        work.reranker.delete([name for name in known if name not in present])
    return work.index.delete(gone)
