"""Who finds hard negatives: an embedder over a corpus, or an index that was made before."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

import numpy as np
import torch

from minireranker.engine.content import Content, Document, Query
from minireranker.engine.embedder import Embedder
from minireranker.engine.embeddings import Embeddings
from minireranker.engine.written import content_to_json
from minireranker.errors import ConfigurationError, InputError, NoDocumentsError
from minireranker.retrieval.late_interaction import LateInteraction
from minireranker.retrieval.sources import document_of
from minireranker.retrieval.vector_index import VectorIndex

from .mining import Search

_LOG = logging.getLogger(__name__)

_QUERIES = 256
"""Searched for in one product."""


def embedder_search(
    embedder: Embedder, corpus: Sequence[Document], *, progress: bool | None = None
) -> tuple[list[Document], Search]:
    """The documents of ``corpus`` that can be embedded, and a search among them by the cosine.

    Those that cannot, and those no line of JSON can hold (a page of a PDF), are named in the log.
    Raises NoDocumentsError where that is all of them.
    """
    corpus = [document for document in corpus if _can_be_written(document)]
    found = embedder.encode(corpus, progress=progress) if corpus else Embeddings(())
    for failed in found.failed:
        _LOG.warning("%s; it is left out of the corpus", failed)
    sound = [(d, e.pooled) for d, e in zip(corpus, found, strict=True) if e is not None]
    if not sound:
        raise NoDocumentsError("none of the documents can be mined; see the warnings")
    vectors = torch.from_numpy(np.stack([vector for _, vector in sound]))

    def search(queries: Sequence[Content], depth: int) -> list[list[int]]:
        asked = embedder.encode([_query(content) for content in queries], progress=progress)
        for failed in asked.failed:
            _warn(failed.error)
        places: list[list[int]] = [[] for _ in queries]
        read = [(at, item.pooled) for at, item in enumerate(asked) if item is not None]
        for start in range(0, len(read), _QUERIES):
            part = read[start : start + _QUERIES]
            scores = torch.from_numpy(np.stack([vector for _, vector in part])) @ vectors.T
            # Stable, so that equal documents come in the order of the corpus.
            order = scores.argsort(dim=1, descending=True, stable=True)[:, :depth]
            for (at, _), nearest in zip(part, order.tolist(), strict=True):
                places[at] = nearest
        return places

    return [document for document, _ in sound], search


def index_search(
    index: VectorIndex, encoder: LateInteraction, *, progress: bool | None = None
) -> tuple[list[Document], Search]:
    """The documents of an index, and a search in it by its pooled vectors.

    Raises ConfigurationError for an index without pooled vectors or of another encoder,
    NoDocumentsError for one that keeps no document's content.
    """
    if not index.settings.pooled_dim:
        raise ConfigurationError(
            f"{index.path} has no pooled vectors; make one with --late pooled or metaembed"
        )
    if index.settings.identity != encoder.identity:
        raise ConfigurationError(f"{index.path} was made with another encoder; load that one")
    known: dict[str, Document] = {}
    for name in index.ids:
        document = document_of(name, _source(index.source(name)))
        if document is not None and _can_be_written(document):
            known[name] = document
    if not known:
        raise NoDocumentsError(f"{index.path} keeps no document's text or path; pass a corpus")
    places = {name: at for at, name in enumerate(known)}

    def found(queries: Sequence[Content], depth: int) -> list[list[int]]:
        vectors = encoder.encode_queries([_query(c) for c in queries], progress=progress)
        assert vectors.pooled is not None, "the encoder's vectors are as its index says"
        nearest = index.search(vectors.pooled, depth)
        return [[places[name] for name in item.ids if name in places] for item in nearest]

    def search(queries: Sequence[Content], depth: int) -> list[list[int]]:
        try:
            return found(queries, depth)
        except InputError as error:
            if len(queries) > 1:
                return [search([query], depth)[0] for query in queries]
            _warn(error)
            return [[]]

    return list(known.values()), search


def _can_be_written(document: Document) -> bool:
    """Whether a mined file can name it; found out before anything is embedded."""
    if content_to_json(document.content) is not None:
        return True
    _LOG.warning(
        "%s cannot be named in a line of JSON (a page, or nothing that can be read) and is left "
        "out of the corpus; write its picture to a file",
        document.id or "a document",
    )
    return False


def _warn(error: Exception) -> None:
    _LOG.warning("a query is left out: %s", error)


def _source(text: str | None) -> dict[str, object] | None:
    try:
        found = json.loads(text or "")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _query(content: Content) -> Query:
    """The content as the argument of a call."""
    videos = content.videos
    return Query(
        text=content.texts or None,
        image=content.images or None,
        # Alone, so that one animated file is not taken for a list of frames.
        video=videos[0] if len(videos) == 1 else (videos or None),
    )
