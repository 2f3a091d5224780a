"""Training: make a checkpoint fit a profile, with that profile's form active at every step.

Importing this package loads nothing: the public names come from their rooms on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .examples import Examples, Pair, read_examples
    from .held_out import Evaluation
    from .mining import MiningSettings, mine
    from .settings import Lora, TrainSettings
    from .survey import Skipped
    from .training import TrainResult, train

_HOMES = {
    "Evaluation": "held_out",
    "Examples": "examples",
    "Lora": "settings",
    "MiningSettings": "mining",
    "Pair": "examples",
    "Skipped": "survey",
    "TrainResult": "training",
    "TrainSettings": "settings",
    "mine": "mining",
    "read_examples": "examples",
    "train": "training",
}

__all__ = [
    "Evaluation",
    "Examples",
    "Lora",
    "MiningSettings",
    "Pair",
    "Skipped",
    "TrainResult",
    "TrainSettings",
    "mine",
    "read_examples",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its room on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"minireranker.train.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
