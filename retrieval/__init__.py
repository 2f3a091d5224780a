"""Retrieval: documents' vectors, what keeps and searches them, the stages before a reranker.

Importing this package loads nothing: the public names come from their rooms on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .building import build_index
    from .built import Built
    from .cascade import Cascade
    from .late_interaction import (
        Adapter,
        ColModernVBert,
        EncodedDocuments,
        LateInteraction,
        MetaEmbed,
        MetaTokens,
        Pooled,
        Smart,
        open_encoder,
    )
    from .rerank import Rerank
    from .search_result import Hit, SearchResult, StageRecord
    from .stages import Rescore, Retrieve, Stage
    from .vector_index import Found, VectorIndex
    from .vectors import TokenVectors

_HOMES = {
    "Adapter": "late_interaction",
    "Built": "built",
    "Cascade": "cascade",
    "ColModernVBert": "late_interaction",
    "EncodedDocuments": "late_interaction",
    "Found": "vector_index",
    "Hit": "search_result",
    "LateInteraction": "late_interaction",
    "MetaEmbed": "late_interaction",
    "MetaTokens": "late_interaction",
    "Pooled": "late_interaction",
    "Rerank": "rerank",
    "Rescore": "stages",
    "Retrieve": "stages",
    "SearchResult": "search_result",
    "Smart": "late_interaction",
    "Stage": "stages",
    "StageRecord": "search_result",
    "TokenVectors": "vectors",
    "VectorIndex": "vector_index",
    "build_index": "building",
    "open_encoder": "late_interaction",
}

__all__ = [
    "Adapter",
    "Built",
    "Cascade",
    "ColModernVBert",
    "EncodedDocuments",
    "Found",
    "Hit",
    "LateInteraction",
    "MetaEmbed",
    "MetaTokens",
    "Pooled",
    "Rerank",
    "Rescore",
    "Retrieve",
    "SearchResult",
    "Smart",
    "Stage",
    "StageRecord",
    "TokenVectors",
    "VectorIndex",
    "build_index",
    "open_encoder",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its room on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"minireranker.retrieval.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
