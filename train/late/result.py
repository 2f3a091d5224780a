"""What a run on the retrieval side came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from minireranker.train.survey import Skipped

from .held_out import RetrievalLook


@dataclass(frozen=True)
class LateResult:
    """What a run came to."""

    model: Path
    """MetaEmbed: a checkpoint folder. SMART: an adapter file."""
    steps: int
    loss: float
    """Mean over the queries of the last step."""
    best: RetrievalLook | None
    """Of what is in ``model``; None: nothing was held out, and it is the last."""
    log: Path
    skipped: tuple[Skipped, ...]
