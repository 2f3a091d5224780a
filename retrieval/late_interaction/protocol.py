"""What every late-interaction system offers, so that an index and a cascade need not know which."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from minireranker.retrieval.vectors import TokenVectors

from .encoded import EncodedDocuments


class LateInteraction(Protocol):
    """Encodes queries and documents apart, and scores them by their vectors alone.

    Queries and documents are whatever ``Reranker`` takes. A document's vectors do not depend on
    what else is in the call, beyond rounding.
    """

    @property
    def name(self) -> str:
        """ "pooled", "smart", "metaembed" or "colmodernvbert"."""

    @property
    def dim(self) -> int:
        """Of a token vector; 0: it has none."""

    @property
    def pooled_dim(self) -> int:
        """Of a pooled vector; 0: it has none."""

    @property
    def identity(self) -> str:
        """Hex SHA-256 of everything that changes a document's vectors."""

    def encode_queries(
        self, queries: Any, *, instruction: str | None = None, progress: bool | None = None
    ) -> TokenVectors:
        """Vectors of each query.

        Raises EmptyQueryError for one without content, InputError for one that cannot be read, and
        ConfigurationError for the instruction.
        """

    def encode_documents(
        self, documents: Iterable[Any], *, importances: bool = False, progress: bool | None = None
    ) -> EncodedDocuments:
        """Vectors of each document that can be read; the others are named in ``.failed``.

        ``importances``: also what each visual token is worth, from the same pass, where the system
        has it. Raises NoDocumentsError.
        """

    def score(self, queries: TokenVectors, documents: TokenVectors) -> NDArray[np.float32]:
        """Scores [queries, documents]. Raises ConfigurationError for another encoder's vectors."""

    def score_rows(
        self,
        queries: TokenVectors,
        pool: Tensor,
        scales: Tensor | None,
        starts: Tensor,
        lengths: Tensor,
        pooled: Tensor | None,
    ) -> NDArray[np.float32]:
        """Scores [queries, n] of n documents in a pool, which may be a mapped file.

        ``pool`` [rows, dim], ``scales`` [rows] if it is int8; document d owns rows
        ``[starts[d], starts[d] + lengths[d])``, both [n] int64; ``pooled`` [n, pooled_dim].
        """
