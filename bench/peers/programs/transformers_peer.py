"""The unmodified model on ``transformers``: pairs as published, and with kept first segments.

``pairs``           query first, one pair after the other, as published
``batched``         the same, several together
``prefix``          the reusable side first, its keys and values kept, one pair after the other
``prefix-batched``  the same, several together
"""

from __future__ import annotations

from typing import Any

from .clock import Clock
from .wire import versions

METHODS = ("pairs", "batched", "prefix", "prefix-batched")


class Peer:
    """Serves one checkpoint."""

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Load the model. Raises ValueError for a method nobody has."""
        import torch

        from .kept import PrefixStore
        from .model import Model

        for method in request["methods"]:
            _check(method)
        torch.set_num_threads(request["threads"])
        self.model = Model(request["model"], request["dtype"], request["device"])
        self.store = PrefixStore(request["keep_bytes"])
        return {"versions": versions("torch", "transformers")}

    def score(self, request: dict[str, Any]) -> dict[str, Any]:
        """Score one query's documents."""
        import torch

        from .reuse import ReusedPrefixes
        from .whole import WholePairs

        method, clock = _check(request["method"]), Clock()
        together = method.endswith("batched")
        how: WholePairs | ReusedPrefixes = WholePairs(self.model, clock, together=together)
        if method.startswith("prefix"):
            how = ReusedPrefixes(self.model, clock, self.store, together=together)
        with torch.inference_mode():
            scores = how.scores(request["query"], request["documents"], request.get("instruction"))
        return {"scores": scores, "kind": "logit", "parts": clock.parts, **how.counts}


def _check(method: str) -> str:
    if method not in METHODS:
        raise ValueError(f"method {method!r}: this peer has {', '.join(METHODS)}")
    return method
