"""SMART: a frozen single-vector embedder used twice, by its pooled vector and by its token states.

Source: arXiv 2605.24938.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.engine.content import Query
from minireranker.engine.embedder import Embedder
from minireranker.engine.embeddings import Embedding
from minireranker.errors import ConfigurationError
from minireranker.retrieval.vectors import TokenVectors

from .adapter import Adapter
from .encoded import EncodedDocuments
from .identity import identity_of
from .passes import embed_documents, embed_queries, unit
from .scoring import cosine, interaction


class Smart:
    """A LateInteraction over any Qwen3-VL-Embedding checkpoint, without training.

    ``score = cos(pooled_q, pooled_d) + mean_i max_j <h_i, h_j>``, h the unit-length states of all
    tokens but the special ones. Where nothing is left, the last token's state, which is the pooled
    vector, stands in. A query of text and image keeps its text alone.
    """

    name = "smart"

    def __init__(self, embedder: Embedder, adapter: Adapter | None = None) -> None:
        """``adapter``: trained on top of the states; the pooled vector stays the embedder's.

        Raises ConfigurationError for an adapter of another width.
        """
        if adapter is not None and adapter.dim != embedder.hidden_size:
            raise ConfigurationError(
                f"the adapter is {adapter.dim} wide, the embedder {embedder.hidden_size}: "
                "pass the one trained for this embedder"
            )
        self.embedder, self.adapter = embedder, adapter
        self.dim = self.pooled_dim = embedder.hidden_size

    @property
    def identity(self) -> str:
        """Of the embedder and the adapter's numbers."""
        adapter = self.adapter.digest if self.adapter is not None else None
        return identity_of(kind=self.name, embedder=self.embedder.identity, adapter=adapter)

    def encode_queries(
        self, queries: Any, *, instruction: str | None = None, progress: bool | None = None
    ) -> TokenVectors:
        """See LateInteraction."""
        return embed_queries(
            self.embedder,
            queries,
            self._of_query,
            (self.dim, self.pooled_dim),
            instruction=instruction,
            progress=progress,
            states=True,
        )

    def encode_documents(
        self, documents: Iterable[Any], *, importances: bool = False, progress: bool | None = None
    ) -> EncodedDocuments:
        """See LateInteraction."""
        return embed_documents(
            self.embedder,
            documents,
            lambda embedding, given: self._vectors(embedding, self.embedder.special_ids),
            (self.dim, self.pooled_dim),
            importances=importances,
            progress=progress,
            states=True,
        )

    def score(self, queries: TokenVectors, documents: TokenVectors) -> NDArray[np.float32]:
        """See LateInteraction."""
        pool, scales = documents.vectors, documents.scales
        rows = documents.starts, documents.lengths
        return self.score_rows(queries, pool, scales, *rows, documents.pooled)

    def score_rows(
        self,
        queries: TokenVectors,
        pool: Tensor,
        scales: Tensor | None,
        starts: Tensor,
        lengths: Tensor,
        pooled: Tensor | None,
    ) -> NDArray[np.float32]:
        """See LateInteraction."""
        late = interaction(queries, pool, scales, starts, lengths, reduce="mean")
        return cosine(queries, pooled) + late

    def _of_query(self, embedding: Embedding, query: Query) -> tuple[Tensor, Tensor]:
        content, dropped = query.content, self.embedder.special_ids
        if content.is_visual and any(text.strip() for text in content.texts):
            dropped |= self.embedder.visual_ids
        return self._vectors(embedding, dropped)

    def _vectors(self, embedding: Embedding, dropped: frozenset[int]) -> tuple[Tensor, Tensor]:
        """Unit-length states of the tokens that are kept, and the pooled vector."""
        assert embedding.states is not None, "states were asked for"
        kept = ~np.isin(embedding.token_ids, list(dropped))
        if not kept.any():
            kept[-1] = True
        states = embedding.states[torch.from_numpy(kept)]
        return unit(self._adapted(states)), torch.from_numpy(embedding.pooled)

    @torch.no_grad()
    def _adapted(self, states: Tensor) -> Tensor:
        if self.adapter is None:
            return states
        weight = self.adapter.linear.weight
        adapted: Tensor = self.adapter(states.to(weight)).cpu()
        return adapted
