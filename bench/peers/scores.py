"""One answer of a peer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

__all__ = ["PeerScores"]


@dataclass(frozen=True)
class PeerScores:
    """Scores of one query's documents, and what they cost inside the peer's process."""

    scores: list[float]
    """One a document, in their order: raw logit differences (see ``kind``)."""
    seconds: float
    """From the request read to the scores known, by the peer's own clock."""
    peak_memory: int
    """Bytes: on CUDA the most allocated there, else the process' largest resident set so far."""
    kind: str = "logit"
    """``"logit"``: raw difference yes - no; ``"probability"``: its sigmoid."""
    parts: dict[str, float] = field(default_factory=dict)
    """Seconds of ``seconds``, where the peer can tell: ``reading`` (files to patches), ``prefix``
    (keys and values that were not kept from an earlier call), ``pairs`` (the rest)."""
    prefixes_computed: int | None = None
    """First segments whose keys and values this call had to compute; None: not told."""
    prefixes_reused: int | None = None
    """First segments found from an earlier call; None: not told."""

    @classmethod
    def read(cls, answer: dict[str, Any], count: int) -> PeerScores:
        """From the wire, of ``count`` documents.

        Raises KeyError, TypeError and ValueError for what is no such answer; and for a score that
        is not finite.
        """
        scores = [float(score) for score in answer["scores"]]
        if len(scores) != count:
            raise ValueError(f"{len(scores)} scores for {count} documents")
        if not all(map(math.isfinite, scores)):
            raise ValueError("a score is not finite")
        return cls(
            scores,
            float(answer["seconds"]),
            int(answer["peak_memory"]),
            str(answer["kind"]),
            dict(answer.get("parts", {})),
            answer.get("prefixes_computed"),
            answer.get("prefixes_reused"),
        )
