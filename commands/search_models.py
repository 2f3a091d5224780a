"""What a search needs: folders of vectors with their encoders, a reranker, and their order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.errors import ConfigurationError, NoDocumentsError, VectorIndexError

from .cache_folder import cache_folder, existing_folder
from .encoders import EncoderPlace, Loader, parse_encoders
from .search_pages import IndexedPages

if TYPE_CHECKING:
    from minireranker.cache import Cache
    from minireranker.engine import Embedder, Reranker
    from minireranker.retrieval.cascade import Cascade
    from minireranker.retrieval.late_interaction import LateInteraction
    from minireranker.retrieval.stages import Stage
    from minireranker.retrieval.vector_index import VectorIndex

__all__ = ["SearchModels", "SearchOptions"]

RETRIEVE, RESCORE = 1000, 100
"""How many go on, unless said otherwise or more are to be shown."""

_WITH_EMBEDDER = ("pooled", "smart", "metaembed")


@dataclass(frozen=True)
class SearchOptions:
    """What the command line says about folders, models and counts."""

    vectors: Sequence[Path]
    encoders: Sequence[str]
    """KIND=PATH each."""
    embedder: str | None
    model: str | None
    profile: str
    keep_ratio: float | None
    folder: Path | None
    """Of the reranker's cache; None: the user's own, if there is one."""
    codec: str
    top_k: int
    retrieve: int | None
    rescore: int | None
    device: str
    dtype: str | None
    """None: of encoders as the index was made, of the reranker auto."""


@dataclass(frozen=True, eq=False)
class SearchModels:
    """All of it, open."""

    indexes: Sequence[tuple[VectorIndex, LateInteraction]]
    reranker: Reranker | None
    cascade: Cascade

    @classmethod
    def open(cls, options: SearchOptions, stack: ExitStack) -> SearchModels:
        """Until ``stack`` is closed. Raises whatever is wrong with the options."""
        _check_alone(options)
        loader = Loader(options.device)
        indexes = list(_indexes(options, loader, stack))
        cache = stack.enter_context(_cache(options)) if options.model is not None else None
        reranker = None if cache is None else _reranker(options, indexes, loader, cache)
        return cls(indexes, reranker, _cascade(options, indexes, reranker))

    def facts(self) -> dict[str, Any]:
        """What was searched, and with what."""
        folders = [
            {"path": str(index.path), "late": encoder.name, "documents": len(index)}
            for index, encoder in self.indexes
        ]
        reranker = self.reranker
        return {
            "vectors": folders,
            "model": None if reranker is None else str(reranker.checkpoint),
            "profile": None if reranker is None else reranker.profile.name,
            "engine": None if reranker is None else reranker.describe(),
        }


def _check_alone(options: SearchOptions) -> None:
    """Raise ConfigurationError for options of a reranker where there is none."""
    given = {"--cache": options.folder, "--keep-ratio": options.keep_ratio}
    names = [name for name in given if given[name] is not None]
    if options.model is None and names:
        raise ConfigurationError(
            f"{', '.join(names)}: without a reranker nothing uses it; add --model CHECKPOINT, or "
            "leave that out"
        )


def _indexes(
    options: SearchOptions, loader: Loader, stack: ExitStack
) -> Iterator[tuple[VectorIndex, LateInteraction]]:
    from minireranker.retrieval.vector_index import VectorIndex

    given = parse_encoders(options.encoders)
    for path in options.vectors:
        if not (path / "index.json").exists():
            raise VectorIndexError(
                f"{path} holds no vector index: name another folder, or make one with minireranker "
                f"index SOURCES --vectors {path} --embedder CHECKPOINT"
            )
    opened = [stack.enter_context(VectorIndex.open(path)) for path in options.vectors]
    for index in opened:
        if not len(index):
            raise NoDocumentsError(
                f"nothing was indexed in {index.path}; run minireranker index --vectors with it"
            )
    kinds = {index.settings.encoder for index in opened}
    if strange := sorted(set(given) - kinds):
        raise ConfigurationError(
            f"--encoder {strange[0]}={given[strange[0]]}: the folders hold vectors of "
            f"{', '.join(sorted(kinds))}"
        )
    for index in opened:
        yield index, loader.load(_place(options, index, given))


def _place(options: SearchOptions, index: VectorIndex, given: Mapping[str, str]) -> EncoderPlace:
    """The encoder of an index: as named, else as it was when the index was made."""
    kind, before = index.settings.encoder, EncoderPlace.read(index.path)
    dtype = options.dtype or (before.dtype if before else "auto")
    embedder = options.embedder if kind in _WITH_EMBEDDER else None
    if path := given.get(kind, embedder):
        place = EncoderPlace.of(kind, path, dtype)
        return replace(place, adapter=before.adapter) if before else place
    if before is None:
        raise ConfigurationError(
            f"{index.path} does not say where its encoder {kind} is: add --encoder {kind}=PATH"
        )
    before.check(index.path)
    return replace(before, dtype=dtype)


def _cache(options: SearchOptions) -> AbstractContextManager[Cache]:
    """The folder named, else the user's own if there is one, else memory."""
    from minireranker.cache import Cache

    if options.folder is not None:
        return Cache(existing_folder(options.folder), codec=options.codec)
    own = cache_folder(None)
    has_entries = os.path.isfile(own / "index.sqlite3")
    return Cache(own if has_entries else None, codec=options.codec)


def _reranker(
    options: SearchOptions,
    indexes: Sequence[tuple[VectorIndex, LateInteraction]],
    loader: Loader,
    cache: Cache,
) -> Reranker:
    from minireranker.engine import Reranker

    assert options.model is not None, "a cache is only opened for a model"
    encoders = [encoder for _, encoder in indexes]
    shared: list[Embedder] = [e.embedder for e in encoders if hasattr(e, "embedder")]
    return Reranker.from_pretrained(
        options.model,
        profile=options.profile,
        embedder=shared[0] if shared else options.embedder,
        keep_ratio=options.keep_ratio,
        device=options.device,
        dtype=options.dtype or "auto",
        cache=cache,
    )


def _cascade(
    options: SearchOptions,
    indexes: Sequence[tuple[VectorIndex, LateInteraction]],
    reranker: Reranker | None,
) -> Cascade:
    """Pooled vectors of the first folder that has some, token vectors of all, the reranker."""
    from minireranker.retrieval.cascade import Cascade
    from minireranker.retrieval.rerank import Rerank
    from minireranker.retrieval.stages import Rescore, Retrieve

    by_pooled = [each for each in indexes if each[1].pooled_dim][:1]
    by_tokens = [each for each in indexes if each[1].dim]
    retrieved, rescored, shown = _counts(options, bool(by_pooled), bool(by_tokens))
    planned: list[tuple[Any, ...]] = [(Retrieve, *each, retrieved) for each in by_pooled]
    planned += [(Rescore, *each, rescored) for each in by_tokens]
    if reranker is None:
        planned[-1] = (*planned[-1][:3], shown)
    stages: list[Stage] = [kind(index, encoder, k) for kind, index, encoder, k in planned]
    if reranker is not None:
        pages = IndexedPages([index for index, _ in indexes], reranker.profile.limits.max_pixels)
        stages.append(Rerank(reranker, shown, pages))
    return Cascade(stages)


def _counts(options: SearchOptions, has_pooled: bool, has_tokens: bool) -> tuple[int, int, int]:
    """How many pooled vectors, token vectors and the last stage let through, each no more than
    the one before. Raises ConfigurationError for a count of a stage that there is not.
    """
    asked = ("retrieve", options.retrieve, has_pooled), ("rescore", options.rescore, has_tokens)
    for name, count, is_there in asked:
        if count is not None and not is_there:
            kind = "token" if has_pooled else "pooled"
            raise ConfigurationError(
                f"--{name} {count}: the folders hold no {kind} vectors, so there is no such stage; "
                "leave it out"
            )
    retrieved = options.retrieve or max(RETRIEVE, options.rescore or RESCORE, options.top_k)
    rescored = options.rescore or min(retrieved, max(RESCORE, options.top_k))
    if rescored > retrieved:
        raise ConfigurationError(
            f"--rescore {rescored} is more than the {retrieved} documents that --retrieve "
            f"{retrieved} lets through: make that one larger, or this one smaller"
        )
    return retrieved, rescored, min(options.top_k, rescored if has_tokens else retrieved)
