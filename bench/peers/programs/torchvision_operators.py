"""Importing torchvision where its compiled operators do not fit the torch beside it."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list[Any] = []
"""torch forgets operators whose library object is gone."""


def import_torchvision() -> None:
    """Import it; where that fails for want of two operators, declare them and import again.

    PyPI's torchvision is compiled for CUDA and registers nothing beside a CPU build of torch. The
    two that it names on import find boxes, which no reranker does; resizing needs none of them.
    """
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declare()
        import_module("torchvision")


def _declare() -> None:
    library: Any = import_module("torch.library").Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}{_SIGNATURE}")
    _libraries.append(library)
