"""The engine: inputs -> prompt -> prefix -> cache -> scoring -> results."""

from .content import Document, DocumentId, Query
from .reranker import Reranker
from .types import FailedDocument, Indexed, RankedDocument, Ranking, Timings, Work

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
