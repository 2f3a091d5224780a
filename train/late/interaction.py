"""MaxSim with a gradient, for the few inputs of a step; ``kernels.maxsim`` computes the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from minireranker.retrieval.late_interaction import GROUPS


def maxsim(queries: Sequence[Tensor], documents: Sequence[Tensor], *, reduce: str) -> Tensor:
    """Scores [queries, documents] of vectors [tokens, dim]: sum (or mean) of each token's maximum.

    Products exist for one document at a time, those of all queries' tokens with its own.
    """
    assert reduce in ("sum", "mean"), reduce
    asked = torch.cat(list(queries))
    maxima = torch.stack([(asked @ document.T).max(1).values for document in documents], 1)
    parts = torch.split(maxima, [len(query) for query in queries])
    return torch.stack([part.sum(0) if reduce == "sum" else part.mean(0) for part in parts])


def group_scores(queries: Tensor, documents: Tensor) -> list[Tensor]:
    """MaxSim in each of MetaEmbed's groups, [n_queries, n_documents] each.

    ``queries`` [n_queries, 16, dim], ``documents`` [n_documents, 64, dim]; a group is a prefix of
    both, so that one product serves all.
    """
    products = torch.einsum("qid,kjd->qkij", queries, documents)
    return [products[..., : g.queries, : g.candidates].amax(3).sum(2) for g in GROUPS]
