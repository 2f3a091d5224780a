"""Who is compared with whom: questions with judged documents, and the lessons of every step.

A lesson is one query and one of its positives, with some of what was judged not relevant. Each
positive is one lesson an epoch; lessons and their negatives are drawn by seed and epoch alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from minireranker.errors import ConfigurationError
from minireranker.relevance.dataset import RELEVANT
from minireranker.train.examples import Examples


class Input(NamedTuple):
    """What is encoded: a content in a role."""

    content: int
    """Its place in ``Examples.contents``."""
    is_query: bool
    instruction: str | None = None
    """Of a query; a document has the model's own."""


@dataclass(frozen=True)
class Question:
    """A query, and the labels of the documents judged for it, by content."""

    query: Input
    labels: dict[int, float] = field(default_factory=dict)

    @property
    def positives(self) -> list[int]:
        """Relevant documents."""
        return [content for content, label in self.labels.items() if label >= RELEVANT]

    @property
    def negatives(self) -> list[int]:
        """The others."""
        return [content for content, label in self.labels.items() if label < RELEVANT]


@dataclass(frozen=True)
class Lesson:
    """One query, one positive, some negatives."""

    question: Question
    positive: int
    negatives: tuple[int, ...] = ()


def questions_of(examples: Examples, failed: Mapping[int, str]) -> list[Question]:
    """Queries with their judgements, in the order of the data, without what cannot be read."""
    found: dict[Input, Question] = {}
    for pair in examples.pairs:
        if pair.query not in failed and pair.document not in failed:
            asked = Input(pair.query, True, pair.instruction)
            labels = found.setdefault(asked, Question(asked)).labels
            labels[pair.document] = max(pair.label, labels.get(pair.document, 0.0))
    return list(found.values())


def inputs_of(examples: Examples) -> list[Input]:
    """Every distinct query and document, in the order of the data."""
    found: dict[Input, None] = {}
    for pair in examples.pairs:
        found[Input(pair.query, True, pair.instruction)] = None
        found[Input(pair.document, False)] = None
    return list(found)


def require_lessons(questions: Sequence[Question], failed: Mapping[int, str]) -> None:
    """Raise ConfigurationError where nothing is to be learned."""
    first = next(iter(failed.values()), None)
    also = "" if first is None else f" ({len(failed)} contents cannot be read; first: {first})"
    if not any(question.positives for question in questions):
        raise ConfigurationError(
            f"no readable query has a document with a label of {RELEVANT} or more{also}; "
            "add positives"
        )
    documents = {content for question in questions for content in question.labels}
    if len(documents) < 2:
        raise ConfigurationError(
            f"all queries have one and the same document{also}: there is nothing to tell it from; "
            "add other documents"
        )


def plan_steps(
    questions: Sequence[Question],
    *,
    seed: int,
    epochs: int,
    together: int,
    negatives: int,
    most: int | None = None,
) -> list[list[Lesson]]:
    """The lessons of every step, ``together`` a step but for the last of an epoch."""
    every = [(question, positive) for question in questions for positive in question.positives]
    out: list[list[Lesson]] = []
    for epoch in range(epochs):
        random = np.random.default_rng((seed, epoch))
        lessons = []
        for at in random.permutation(len(every)).tolist():
            question, positive = every[at]
            listed = question.negatives
            drawn = random.permutation(len(listed))[:negatives].tolist()
            lessons.append(Lesson(question, positive, tuple(listed[place] for place in drawn)))
        out += [lessons[at : at + together] for at in range(0, len(lessons), together)]
        if most is not None and len(out) >= most:
            return out[:most]
    return out


def require_contrast(plan: Sequence[Sequence[Lesson]]) -> None:
    """Raise ConfigurationError where no query of any step meets a document but its positives."""
    for step in plan:
        met = {content for lesson in step for content in (lesson.positive, *lesson.negatives)}
        if any(met.difference(lesson.question.positives) for lesson in step):
            return
    raise ConfigurationError(
        "no query meets a document that is not its own: every loss would be 0, and nothing would "
        "be learned; raise batch_queries or negatives, or add documents that are not relevant"
    )
