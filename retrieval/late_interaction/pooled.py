"""The embedder's vector alone: one product a document, what every other system is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.engine.embedder import Embedder
from minireranker.engine.embeddings import Embedding
from minireranker.errors import ConfigurationError
from minireranker.retrieval.vectors import TokenVectors

from .encoded import EncodedDocuments
from .identity import identity_of
from .passes import embed_documents, embed_queries
from .scoring import cosine


class Pooled:
    """A LateInteraction without token vectors; the score is the cosine."""

    name = "pooled"
    dim = 0

    def __init__(self, embedder: Embedder, dim: int | None = None) -> None:
        """``dim``: the first numbers of the vector (Matryoshka); None: all.

        Raises ConfigurationError for one that the embedder does not have.
        """
        width = embedder.hidden_size if dim is None else dim
        if type(width) is not int or not 1 <= width <= embedder.hidden_size:
            raise ConfigurationError(f"dim = {dim!r}: allowed is 1 to {embedder.hidden_size}")
        self.embedder, self.pooled_dim = embedder, width

    @property
    def identity(self) -> str:
        """Of the embedder and the width."""
        return identity_of(kind=self.name, embedder=self.embedder.identity, dim=self.pooled_dim)

    def encode_queries(
        self, queries: Any, *, instruction: str | None = None, progress: bool | None = None
    ) -> TokenVectors:
        """See LateInteraction."""
        return embed_queries(
            self.embedder,
            queries,
            _pooled_alone,
            (self.dim, self.pooled_dim),
            instruction=instruction,
            progress=progress,
            dim=self.pooled_dim,
        )

    def encode_documents(
        self, documents: Iterable[Any], *, importances: bool = False, progress: bool | None = None
    ) -> EncodedDocuments:
        """See LateInteraction."""
        return embed_documents(
            self.embedder,
            documents,
            _pooled_alone,
            (self.dim, self.pooled_dim),
            importances=importances,
            progress=progress,
            dim=self.pooled_dim,
        )

    def score(self, queries: TokenVectors, documents: TokenVectors) -> NDArray[np.float32]:
        """See LateInteraction."""
        return cosine(queries, documents.pooled)

    def score_rows(
        self,
        queries: TokenVectors,
        pool: Tensor,
        scales: Tensor | None,
        starts: Tensor,
        lengths: Tensor,
        pooled: Tensor | None,
    ) -> NDArray[np.float32]:
        """See LateInteraction; only ``pooled`` is looked at."""
        return cosine(queries, pooled)


def _pooled_alone(embedding: Embedding, given: Any) -> tuple[Tensor, Tensor]:
    return torch.empty(0, 0), torch.from_numpy(embedding.pooled)
