"""How well a model in training does on pairs it is not trained on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from minireranker.engine.state import EngineState
from minireranker.errors import ConfigurationError
from minireranker.relevance.metrics import ndcg

from .examples import Examples
from .loss import judgement_loss
from .plan import Bound, batches, grouped
from .processes import Processes
from .reading import BatchReader
from .scoring import Scorer, score_batches
from .survey import Survey

DEPTH = 10
"""Of nDCG."""


@dataclass(frozen=True)
class Evaluation:
    """Of the held-out pairs, at some step."""

    step: int
    loss: float
    """Mean over pairs, of the judgements alone."""
    ndcg: float
    """Mean nDCG@10 over queries with a relevant document; NaN where there is none."""

    def facts(self) -> dict[str, float | None]:
        """As JSON has it, None for what is no number."""
        return {k: None if np.isnan(v) else v for k, v in dataclasses.asdict(self).items()}

    def figures(self) -> dict[str, float | None]:
        """What is logged of it."""
        facts = self.facts()
        return {"held_out_loss": facts["loss"], f"ndcg@{DEPTH}": facts["ndcg"]}

    def summary(self) -> str:
        """In a few words."""
        return f"{self.loss:.4f}, nDCG@{DEPTH} {self.ndcg:.4f}"

    def beats(self, other: Evaluation | None) -> bool:
        """By nDCG; where that is equal, or there is none, by the loss."""
        if other is None:
            return True
        mine, theirs = (0.0 if np.isnan(e.ndcg) else e.ndcg for e in (self, other))
        return (mine, -self.loss) > (theirs, -other.loss)


class HeldOut:
    """Pairs to measure by."""

    def __init__(
        self, state: EngineState, examples: Examples, survey: Survey, bound: Bound, *, share: bool
    ) -> None:
        """``survey`` is that of ``examples``.

        Raises MissingDependencyError without ir-measures, ConfigurationError where no pair can be
        read: both before the first step.
        """
        self._examples = examples
        ndcg({}, {}, DEPTH)
        groups = grouped(examples, survey, state.profile.template.order)
        if not groups:
            first = survey.skipped(examples)[0]
            raise ConfigurationError(
                f"none of {len(examples.pairs)} held-out pairs can be read; the first failure is "
                f"{first.origin}: {first.reason}"
            )
        self._plan = batches(groups, bound)
        self._reader = BatchReader(state, examples, share=share)
        self._device = state.model.device

    def evaluate(self, step: int, scorer: Scorer, processes: Processes) -> Evaluation:
        """Score all pairs. Raises NonFiniteScoreError for a score that is no number."""
        total = len(self._examples.pairs)
        place = self._device
        scores = score_batches(scorer, self._reader, self._plan, total, processes, place)
        known = np.flatnonzero(~np.isnan(scores))
        labels = np.array([pair.label for pair in self._examples.pairs])
        losses = judgement_loss(torch.from_numpy(scores[known]), torch.from_numpy(labels[known]))
        loss = float(losses.mean()) if len(known) else float("nan")
        return Evaluation(step, loss, self._ndcg(scores, known))

    def _ndcg(self, scores: NDArray[np.float64], known: NDArray[np.int64]) -> float:
        qrels: dict[str, dict[str, float]] = {}
        found: dict[str, dict[str, float]] = {}
        for number in known.tolist():
            pair = self._examples.pairs[number]
            query, document = f"{pair.query}\n{pair.instruction}", str(pair.document)
            judged = qrels.setdefault(query, {})
            judged[document] = max(pair.label, judged.get(document, 0.0))
            found.setdefault(query, {})[document] = float(scores[number])
        worthy = {query: judged for query, judged in qrels.items() if max(judged.values()) > 0}
        run = {query: _ranked(found[query], judged) for query, judged in worthy.items()}
        values = ndcg(worthy, run, DEPTH) if worthy else {}
        return float(np.mean(list(values.values()))) if values else float("nan")


def _ranked(scores: dict[str, float], judged: dict[str, float]) -> list[str]:
    """Best first. Of equal ones the less relevant: a model that tells nothing apart gains nothing
    by the order of a file."""
    return sorted(scores, key=lambda name: (-scores[name], judged[name]))
