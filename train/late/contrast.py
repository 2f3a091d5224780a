"""A step's lessons as one contest: every query against every document of the step.

InfoNCE (van den Oord et al., arXiv 1807.03748, equation 4): the negative log of a positive's share
in a softmax over all documents at a temperature. A query's negatives are its own, and all other
documents of the step: other queries' positives and theirs. One that was judged relevant to a query
is no negative of it.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minireranker.relevance.dataset import RELEVANT

from .lessons import Input, Lesson


@dataclass(frozen=True, eq=False)
class Contest:
    """Who meets whom."""

    queries: tuple[Input, ...]
    """One a lesson; the same query may come with another of its positives."""
    documents: tuple[Input, ...]
    """Each document once."""
    positives: Tensor
    """[queries] int64: places in ``documents``."""
    counts: Tensor
    """[queries, documents] bool: the query's positive, and what it has to beat."""

    @classmethod
    def of(cls, lessons: Sequence[Lesson], sound: Container[Input]) -> Contest | None:
        """Without what is not in ``sound``; None: no lesson is left."""
        kept = [
            lesson
            for lesson in lessons
            if lesson.question.query in sound and Input(lesson.positive, False) in sound
        ]
        if not kept:
            return None
        listed = [lesson.positive for lesson in kept]
        listed += [content for lesson in kept for content in lesson.negatives]
        found = {content: Input(content, False) for content in listed}
        places = {content: at for at, content in enumerate(c for c in found if found[c] in sound)}
        counts = torch.ones(len(kept), len(places), dtype=torch.bool)
        for row, lesson in enumerate(kept):
            for content, label in lesson.question.labels.items():
                if label >= RELEVANT and content in places:
                    counts[row, places[content]] = content == lesson.positive
        return cls(
            tuple(lesson.question.query for lesson in kept),
            tuple(found[content] for content in places),
            torch.tensor([places[lesson.positive] for lesson in kept]),
            counts,
        )

    def loss(self, scores: Tensor, temperature: float) -> Tensor:
        """InfoNCE of scores [queries, documents], summed over the queries."""
        counts = self.counts.to(scores.device)
        logits = (scores / temperature).masked_fill(~counts, -torch.inf)
        return F.cross_entropy(logits, self.positives.to(scores.device), reduction="sum")
