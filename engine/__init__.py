"""The engine: inputs -> prompt -> prefix -> cache -> scoring -> results."""

from .reranker import Reranker
from .types import (
    Document,
    DocumentId,
    FailedDocument,
    Indexed,
    Query,
    RankedDocument,
    Ranking,
    Timings,
    Work,
)

__all__ = [
    "Document",
    "DocumentId",
    "FailedDocument",
    "Indexed",
    "Query",
    "RankedDocument",
    "Ranking",
    "Reranker",
    "Timings",
    "Work",
]
