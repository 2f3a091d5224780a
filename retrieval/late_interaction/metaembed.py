"""MetaEmbed: learnt tokens behind every input, whose states are its vectors.

Source: arXiv 2509.18095. The decoder is causal, so a state depends on no token behind it: tokens
that would only follow the last one wanted are not appended.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.engine.embedder import Embedder
from minireranker.engine.embeddings import Embedding
from minireranker.errors import ConfigurationError
from minireranker.models import resolve
from minireranker.retrieval.vectors import TokenVectors

from .encoded import EncodedDocuments
from .group import CANDIDATE_TOKENS, QUERY_TOKENS, Group
from .identity import identity_of
from .meta_tokens import MetaTokens
from .passes import embed_documents, embed_queries, unit
from .scoring import interaction

_ALL = Group(QUERY_TOKENS, CANDIDATE_TOKENS)


class MetaEmbed:
    """A LateInteraction with a dial: ``score = sum_i max_j <q_i, d_j>`` over a group's prefixes.

    ``group`` is what is scored, ``stored`` how many vectors of a document are kept: documents
    stored with 64 can be scored by any group. The pooled vector is the first of them, so that a
    search by pooled vectors is the group (1, 1).
    """

    name = "metaembed"

    def __init__(
        self,
        embedder: Embedder,
        tokens: MetaTokens,
        group: tuple[int, int] = _ALL,
        *,
        stored: int | None = None,
    ) -> None:
        """``stored=None``: as many as the group scores.

        Raises ConfigurationError for a group outside (16, 64), fewer stored than scored, or tokens
        of another width than the embedder.
        """
        if tokens.width != embedder.hidden_size:
            raise ConfigurationError(
                f"the meta tokens are {tokens.width} wide, the embedder {embedder.hidden_size}: "
                "take both from one checkpoint"
            )
        self.group = Group.of(group)
        self.stored = Group.of((1, self.group.candidates if stored is None else stored)).candidates
        if self.stored < self.group.candidates:
            raise ConfigurationError(
                f"stored = {stored}, but group {tuple(self.group)} scores {self.group.candidates} "
                "vectors of a document; store at least as many, or choose a smaller group"
            )
        self.embedder, self.tokens = embedder, tokens
        self.dim = self.pooled_dim = embedder.hidden_size

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        group: tuple[int, int] = _ALL,
        stored: int | None = None,
        **embedder: Any,
    ) -> Self:
        """A Qwen3-VL checkpoint with its meta tokens beside it, a directory or a hub id.

        ``embedder``: see ``Embedder.from_pretrained``. Raises CheckpointError and
        ConfigurationError.
        """
        Group.of(group)
        path = resolve(folder, "embedder")
        tokens = MetaTokens.load(path)
        return cls(Embedder.from_pretrained(path, **embedder), tokens, group, stored=stored)

    @classmethod
    def initialise(cls, embedder: Embedder, seed: int = 0) -> Self:
        """With untrained tokens: something to train, whose scores rank nothing yet."""
        return cls(embedder, MetaTokens.random(embedder.hidden_size, seed))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the tokens; in a copy of the embedder's checkpoint they make one to load."""
        self.tokens.save(folder)

    def with_group(self, group: tuple[int, int]) -> Self:
        """The same encoder, scoring another group of what is stored; the identity stays."""
        return type(self)(self.embedder, self.tokens, group, stored=self.stored)

    @property
    def identity(self) -> str:
        """Of the embedder, the tokens' numbers and how many vectors are stored."""
        return identity_of(
            kind=self.name,
            embedder=self.embedder.identity,
            tokens=self.tokens.digest,
            stored=self.stored,
        )

    def encode_queries(
        self, queries: Any, *, instruction: str | None = None, progress: bool | None = None
    ) -> TokenVectors:
        """See LateInteraction; as many vectors as the group has for a query."""
        count = self.group.queries
        return embed_queries(
            self.embedder,
            queries,
            lambda embedding, given: _last(embedding, count),
            (self.dim, self.pooled_dim),
            instruction=instruction,
            progress=progress,
            states=True,
            appended=self.tokens.query[:count],
        )

    def encode_documents(
        self, documents: Iterable[Any], *, importances: bool = False, progress: bool | None = None
    ) -> EncodedDocuments:
        """See LateInteraction; ``stored`` vectors a document."""
        return embed_documents(
            self.embedder,
            documents,
            lambda embedding, given: _last(embedding, self.stored),
            (self.dim, self.pooled_dim),
            importances=importances,
            progress=progress,
            states=True,
            appended=self.tokens.all[: QUERY_TOKENS + self.stored],
        )

    def score(self, queries: TokenVectors, documents: TokenVectors) -> NDArray[np.float32]:
        """See LateInteraction. Raises ConfigurationError for fewer vectors than the group has."""
        pool, scales = documents.vectors, documents.scales
        return self.score_rows(queries, pool, scales, documents.starts, documents.lengths, None)

    def score_rows(
        self,
        queries: TokenVectors,
        pool: Tensor,
        scales: Tensor | None,
        starts: Tensor,
        lengths: Tensor,
        pooled: Tensor | None,
    ) -> NDArray[np.float32]:
        """See LateInteraction; ``pooled`` is not looked at.

        Raises ConfigurationError for fewer vectors than the group has.
        """
        wanted = self.group
        if len(lengths) and (least := int(lengths.min())) < wanted.candidates:
            raise ConfigurationError(
                f"documents were stored with {least} vectors, group {tuple(wanted)} scores "
                f"{wanted.candidates}: choose a group of at most {least} (with_group), or index "
                "them again with more"
            )
        prefix = torch.full_like(lengths, wanted.candidates)
        asked = _prefix(queries, wanted.queries)
        return interaction(asked, pool, scales, starts, prefix, reduce="sum")


def _last(embedding: Embedding, count: int) -> tuple[Tensor, Tensor]:
    """The last ``count`` states with unit length, and the first of them."""
    assert embedding.states is not None, "states were asked for"
    vectors = unit(embedding.states[-count:])
    return vectors, vectors[0]


def _prefix(queries: TokenVectors, count: int) -> TokenVectors:
    """The first ``count`` vectors of each query. Raises ConfigurationError for fewer."""
    lengths = np.diff(queries.cu_seqlens)
    if (lengths == count).all():
        return queries
    if lengths.min() < count:
        raise ConfigurationError(
            f"queries were encoded with {lengths.min()} vectors, the group scores {count}: encode "
            "them with this group"
        )
    rows = torch.from_numpy((queries.cu_seqlens[:-1, None] + np.arange(count)).reshape(-1))
    scales = None if queries.scales is None else queries.scales[rows]
    ends = np.arange(len(queries) + 1, dtype=np.int64) * count
    return TokenVectors(queries.vectors[rows], ends, scales, queries.pooled)
