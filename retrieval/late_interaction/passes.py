"""Queries and documents through the embedder, a few at a time, keeping only what is wanted.

Token states are large: [tokens, hidden] in float32 for every input. So those of no more than
``PART`` inputs exist at once, however long the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from minireranker.engine.content import Query
from minireranker.engine.embedder import Embedder
from minireranker.engine.embeddings import Embedding
from minireranker.engine.given import given_documents
from minireranker.engine.progress import Progress
from minireranker.engine.types import FailedDocument
from minireranker.retrieval.vectors import TokenVectors

from .encoded import Encoded, EncodedDocuments, gathered, moved, raise_first, read_queries

PART = 16
"""Inputs a call of the embedder."""

Take: TypeAlias = Callable[[Embedding, Any], tuple[Tensor, Tensor]]
"""An input's token vectors [tokens, dim] and pooled vector, from its embedding and itself."""


def embed_queries(
    embedder: Embedder,
    queries: Any,
    take: Callable[[Embedding, Query], tuple[Tensor, Tensor]],
    sizes: tuple[int, int],
    *,
    instruction: str | None,
    progress: bool | None,
    **asked: Any,
) -> TokenVectors:
    """Vectors of queries; ``sizes``: of a token vector and a pooled one. Raises InputError."""
    read = read_queries(queries)
    asked |= {"instruction": instruction}
    items, failed = _run(embedder, read, take, "encoding queries", progress, asked)
    raise_first(failed)
    return gathered(items, *sizes)


def embed_documents(
    embedder: Embedder,
    documents: Iterable[Any],
    take: Take,
    sizes: tuple[int, int],
    *,
    importances: bool,
    progress: bool | None,
    **asked: Any,
) -> EncodedDocuments:
    """Vectors of the sound documents. Raises NoDocumentsError."""
    listed = given_documents(documents)
    asked |= {"importances": importances}
    items, failed = _run(embedder, listed, take, "encoding documents", progress, asked)
    return EncodedDocuments(
        gathered(items, *sizes),
        tuple(item.place for item in items),
        tuple(failed),
        tuple(item.importances for item in items) if importances else None,
    )


def _run(
    embedder: Embedder,
    inputs: Sequence[Any],
    take: Take,
    label: str,
    progress: bool | None,
    asked: dict[str, Any],
) -> tuple[list[Encoded], list[FailedDocument]]:
    items: list[Encoded] = []
    failed: list[FailedDocument] = []
    with Progress(label, len(inputs), progress) as bar:
        for first in range(0, len(inputs), PART):
            part = inputs[first : first + PART]
            found = embedder.encode(part, progress=False, **asked)
            for at, embedding in enumerate(found):
                if embedding is not None:
                    tokens, pooled = take(embedding, part[at])
                    worth = embedding.importances
                    items.append(Encoded(first + at, tokens, pooled, worth))
            failed += [moved(each, first) for each in found.failed]
            bar.advance(len(part))
    return items, failed


def unit(rows: Tensor) -> Tensor:
    """Rows over their length, in float32."""
    return torch.nn.functional.normalize(rows.float(), dim=-1)
