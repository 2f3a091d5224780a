"""What a round asks of the engine for each request, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from minireranker.errors import MinirerankerError

from .jobs import Tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minireranker.cache import CacheStats
    from minireranker.engine.types import KeptVisual

__all__ = ["Part", "PartAnswer", "RoundAnswer"]


@dataclass(frozen=True, eq=False)
class Part:
    """One request's share of a round."""

    queries: tuple[Any, ...]
    documents: tuple[Any, ...]
    places: tuple[int, ...] = ()
    """Of the documents in their request."""
    want_kept: bool = False


@dataclass(frozen=True, eq=False)
class PartAnswer:
    """What came of it."""

    scores: NDArray[np.float32] | None = None
    """[queries, documents], NaN where one failed; None where documents were indexed."""
    ids: tuple[str | None, ...] = ()
    failed: tuple[tuple[int, int | None, MinirerankerError], ...] = ()
    """Document, query (None: all of them), error."""
    kept: tuple[tuple[KeptVisual, ...], ...] = ()
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds of the whole round."""
    tokens: Tokens = field(default_factory=Tokens)
    """Its share of the round's, by documents."""


@dataclass(frozen=True, eq=False)
class RoundAnswer:
    """One answer, or the error, of each part; what the round took."""

    parts: list[PartAnswer | Exception]
    seconds: float
    cache: CacheStats | None = None
    """After it; None where it failed as a whole."""

    @property
    def stages(self) -> dict[str, float]:
        """Seconds; of parts that had to be computed apart, all together."""
        each = [part.stages for part in self.parts if isinstance(part, PartAnswer)]
        distinct = {id(stages): stages for stages in each}.values()
        return {
            name: sum(stages[name] for stages in distinct)
            for name in ("inputs", "prefix", "suffix")
        }
