"""How much is probed, and by which thresholds exit, band and keep ratio are chosen."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from minireranker.errors import ConfigurationError

METRICS = ("pair_accuracy", "auc", "ndcg")
"""Measures of relevance, see ``quality``; any of them may decide."""

KEEP_RATIOS = (0.75, 0.5, 0.25)
"""Points of the keep ratio curve below 1."""


@dataclass(frozen=True)
class ProbeSettings:
    """Sizes of the sample, and the thresholds of the rules. Raises ConfigurationError."""

    queries: int = 200
    """At most so many queries, drawn at random."""
    pairs: int = 4_000
    """At most so many (query, document) pairs in all, as many for each query; fewer where else
    ``blocked_pairs`` would be those of fewer than ``min_queries``."""
    blocked_pairs: int = 600
    """Of those, so many in the passes with a blocked pathway: two for every layer."""
    seed: int = 0
    metric: str = "pair_accuracy"
    """What must not be lost: one of METRICS."""
    max_loss: float = 0.02
    """An exit (and a keep ratio) may lose so much of the metric."""
    min_correlation: float = 0.95
    """Scores with a blocked pathway must correlate so well with those of the open one."""
    confidence: float = 0.95
    """A threshold counts as kept where the bootstrap says so with this confidence."""
    min_queries: int = 20
    """With fewer nothing is chosen."""
    step: int = 1
    """Every how many layers a pathway is blocked."""
    resamples: int = 500
    """Of the queries, with replacement (bootstrap)."""

    def __post_init__(self) -> None:
        """Check every value."""
        for name, low in (("queries", 1), ("pairs", 2), ("blocked_pairs", 2), ("step", 1)):
            self._require(name, getattr(self, name) >= low, f"{low} or more")
        self._require("seed", self.seed >= 0, "0 or more")
        self._require("min_queries", self.min_queries >= 2, "2 or more")
        self._require("resamples", self.resamples >= 20, "20 or more")
        self._require("metric", self.metric in METRICS, f"one of {', '.join(METRICS)}")
        self._require("max_loss", 0 <= self.max_loss < 1, "0 to below 1")
        self._require("min_correlation", 0 < self.min_correlation <= 1, "above 0 and at most 1")
        self._require("confidence", 0.5 <= self.confidence < 1, "0.5 to below 1")

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        value = getattr(self, name)
        if not holds or (isinstance(value, float) and not math.isfinite(value)):
            raise ConfigurationError(f"{name} = {value!r}: allowed is {allowed}")

    def command(self) -> str:
        """The command line that asks for this, files left out."""
        words = ["minireranker profile probe DATA --model MODEL"]
        for spec in dataclasses.fields(self):
            if getattr(self, spec.name) != spec.default:
                words.append(f"--{spec.name.replace('_', '-')} {getattr(self, spec.name)}")
        return " ".join(words)
