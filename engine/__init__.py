"""The engine: inputs -> prompt -> prefix -> cache -> scoring -> results."""

from .content import Document, DocumentId, Query
from .embedder import Embedder
from .embeddings import Embedding, Embeddings
from .reranker import Reranker
from .types import FailedDocument, Indexed, RankedDocument, Ranking, Timings, Work

__all__ = [
    "Document",
    "DocumentId",
    "Embedder",
    "Embedding",
    "Embeddings",
    "FailedDocument",
    "Indexed",
    "Query",
    "RankedDocument",
    "Ranking",
    "Reranker",
    "Timings",
    "Work",
]
