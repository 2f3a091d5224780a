"""Who finds hard negatives: an embedder over a corpus, or an index that was made before."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

import numpy as np
import torch

from minireranker.engine.content import Content, Document, Query
from minireranker.engine.embedder import Embedder
from minireranker.errors import ConfigurationError, NoDocumentsError
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

    Those that cannot are named in the log. Raises NoDocumentsError where that is all of them.
    """
    found = embedder.encode(corpus, progress=progress)
    for failed in found.failed:
        _LOG.warning("%s; it is left out of the corpus", failed)
    sound = [(d, e.pooled) for d, e in zip(corpus, found, strict=True) if e is not None]
    if not sound:
        raise NoDocumentsError(f"none of {len(corpus)} documents can be read; see the warnings")
    vectors = torch.from_numpy(np.stack([vector for _, vector in sound]))

    def search(queries: Sequence[Content], depth: int) -> list[list[int]]:
        asked = embedder.encode([_query(content) for content in queries], progress=progress)
        places: list[list[int]] = []
        for part in torch.split(torch.from_numpy(asked.pooled), _QUERIES):
            scores = part @ vectors.T
            # Stable, so that equal documents come in the order of the corpus.
            order = scores.argsort(dim=1, descending=True, stable=True)
            places += order[:, :depth].tolist()
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
        if document is not None:
            known[name] = document
    if not known:
        raise NoDocumentsError(f"{index.path} keeps no document's text or path; pass a corpus")
    places = {name: at for at, name in enumerate(known)}

    def search(queries: Sequence[Content], depth: int) -> list[list[int]]:
        vectors = encoder.encode_queries([_query(c) for c in queries], progress=progress)
        assert vectors.pooled is not None, "the encoder's vectors are as its index says"
        found = index.search(vectors.pooled, depth)
        return [[places[name] for name in item.ids if name in places] for item in found]

    return list(known.values()), search


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
