"""minireranker: multimodal reranking with every document's pixels read once.

    from minireranker import Reranker
    reranker = Reranker.from_pretrained("path/to/Qwen3-VL-Reranker-2B", profile="dense")
    hits = reranker.rank("a red bicycle", [Path("one.jpg"), Path("two.jpg")], top_k=1)

Importing this package imports neither torch nor transformers: the public names load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minireranker.cache import Cache
    from minireranker.configs import Limits, Profile, Template
    from minireranker.engine import (
        Document,
        DocumentId,
        Embedder,
        FailedDocument,
        Indexed,
        Query,
        RankedDocument,
        Ranking,
        Reranker,
    )

__version__ = "0.1.0"

_HOMES = {
    "Document": "minireranker.engine",
    "DocumentId": "minireranker.engine",
    "Embedder": "minireranker.engine",
    "FailedDocument": "minireranker.engine",
    "Indexed": "minireranker.engine",
    "Limits": "minireranker.configs",
    "Cache": "minireranker.cache",
    "Profile": "minireranker.configs",
    "Query": "minireranker.engine",
    "RankedDocument": "minireranker.engine",
    "Ranking": "minireranker.engine",
    "Reranker": "minireranker.engine",
    "Template": "minireranker.configs",
}

__all__ = [
    "Cache",
    "Document",
    "DocumentId",
    "Embedder",
    "FailedDocument",
    "Indexed",
    "Limits",
    "Profile",
    "Query",
    "RankedDocument",
    "Ranking",
    "Reranker",
    "Template",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its room on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'minireranker' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
