"""Training of the retrieval side: MetaEmbed's tokens and adapters, and SMART's adapter.

Importing this package loads nothing: the public names come from their rooms on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .held_out import RetrievalLook
    from .metaembed import train_metaembed
    from .result import LateResult
    from .settings import MetaEmbedSettings, SmartSettings
    from .smart import train_smart

_HOMES = {
    "LateResult": "result",
    "MetaEmbedSettings": "settings",
    "RetrievalLook": "held_out",
    "SmartSettings": "settings",
    "train_metaembed": "metaembed",
    "train_smart": "smart",
}

__all__ = [
    "LateResult",
    "MetaEmbedSettings",
    "RetrievalLook",
    "SmartSettings",
    "train_metaembed",
    "train_smart",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its room on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"minireranker.train.late.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
