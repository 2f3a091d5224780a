"""What is probed: queries drawn from a dataset, each with documents that are and are not relevant.

Drawn at random from each query's candidates and judged documents; relevant ones are at most half,
and no query has so many that fewer than ``min_queries`` would share ``blocked_pairs``.
Queries stand in random order, so that a run that is cut short has seen a fair sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

import numpy as np

from minireranker.engine.content import Document, Query
from minireranker.relevance.dataset import RELEVANT, Dataset

from .quality import Floats, Judgements
from .settings import ProbeSettings

_LEAST = 10
"""Documents of a query that the blocked passes' bound leaves it."""


@dataclass(frozen=True, eq=False)
class Question:
    """One query and the documents it is scored with."""

    query: Query
    documents: tuple[Document, ...]
    labels: Floats
    """[documents]"""
    instruction: str | None = None

    @property
    def is_telling(self) -> bool:
        """Whether an order of its documents can be right or wrong."""
        return len(set(self.labels.tolist())) > 1

    def only(self, places: Sequence[int]) -> Question:
        """With the documents at ``places``."""
        documents = tuple(self.documents[place] for place in places)
        return Question(self.query, documents, self.labels[list(places)], self.instruction)


def sample(data: Dataset, settings: ProbeSettings) -> list[Question]:
    """At most ``settings.queries`` questions, ``settings.pairs`` pairs."""
    random = Random(settings.seed)
    names = list(data.queries)
    random.shuffle(names)
    count = min(settings.queries, settings.pairs // 2, len(names))
    size = settings.pairs // count
    if count >= settings.min_queries:
        # Else few queries would have long lists, and blocked passes too few of them to choose by.
        size = min(size, max(_LEAST, settings.blocked_pairs // settings.min_queries))
    found = (_question(data, name, size, random) for name in names)
    return list(islice((question for question in found if question.is_telling), count))


def judgements(questions: Sequence[Question]) -> Judgements:
    """Labels of all pairs, in order."""
    starts = np.cumsum([0, *(len(question.documents) for question in questions)])
    labels = [question.labels for question in questions]
    return Judgements(np.concatenate(labels) if labels else np.empty(0), starts)


def _question(data: Dataset, name: str, size: int, random: Random) -> Question:
    judged = data.qrels.get(name, {})
    pool = [n for n in dict.fromkeys([*judged, *data.candidates[name]]) if n in data.documents]
    relevant = [item for item in pool if judged.get(item, 0.0) >= RELEVANT]
    others = [item for item in pool if judged.get(item, 0.0) < RELEVANT]
    drawn = random.sample(relevant, min(len(relevant), max(size // 2, size - len(others))))
    drawn += random.sample(others, min(len(others), size - len(drawn)))
    documents = tuple(data.documents[item] for item in drawn)
    labels = np.array([judged.get(item, 0.0) for item in drawn])
    return Question(data.queries[name], documents, labels, data.instruction_of(name))
