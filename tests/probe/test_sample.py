"""What is drawn from a dataset."""

from __future__ import annotations

from collections import Counter

import pytest

from minireranker import Document, Query
from minireranker.probe import ProbeSettings
from minireranker.probe.sample import judgements, sample
from minireranker.relevance import Dataset


def corpus(queries: int, candidates: int, relevant: int) -> Dataset:
    """Every query has its relevant documents first among its candidates; the last are unjudged."""
    names = [f"d{at}" for at in range(candidates)]
    return Dataset(
        "corpus",
        {f"q{at}": Query(text=f"q{at}") for at in range(queries)},
        {name: Document(text=name, id=name) for name in names},
        {f"q{at}": dict.fromkeys(names[:relevant], 2.0) for at in range(queries)},
        {f"q{at}": names for at in range(queries)},
        instructions={"q0": "Find the first."},
        instruction="Find any.",
    )


@pytest.mark.parametrize(
    ("queries", "pairs", "relevant", "wanted"),
    [
        (5, 50, 1, (5, 10, 1)),
        (5, 50, 30, (5, 10, 5)),
        (5, 50, 38, (5, 10, 8)),
        (100, 60, 1, (20, 3, 1)),
        (100, 10, 1, (5, 2, 1)),
        (3, 10_000, 4, (3, 40, 4)),
    ],
    ids=["one relevant", "many", "nearly all", "all queries", "few pairs", "few documents"],
)
def test_sizes(queries: int, pairs: int, relevant: int, wanted: tuple[int, int, int]) -> None:
    found = sample(corpus(20, 40, relevant), ProbeSettings(queries=queries, pairs=pairs))
    sizes = {(len(question.documents), int((question.labels > 0).sum())) for question in found}
    assert (len(found), sizes) == (wanted[0], {wanted[1:]})
    assert all(len({d.id for d in q.documents}) == len(q.documents) for q in found)


@pytest.mark.parametrize("queries", [20, 60, 129, 400])
def test_blocked_passes_have_queries_enough_to_choose_by(queries: int) -> None:
    """With the defaults, however long the lists are: a band could not be proposed else."""
    settings = ProbeSettings()
    found = sample(corpus(queries, 100, 1), settings)
    pairs = sum(len(question.documents) for question in found[: settings.min_queries])
    assert pairs <= settings.blocked_pairs
    assert len(found) >= settings.min_queries
    small = ProbeSettings(blocked_pairs=40)
    assert {len(question.documents) for question in sample(corpus(queries, 100, 1), small)} == {10}


def test_queries_that_tell_nothing_are_passed_over() -> None:
    data = corpus(20, 6, 2)
    for name in list(data.queries)[:15]:
        data.qrels[name] = dict.fromkeys(data.documents, 1.0)
    found = sample(data, ProbeSettings(queries=4, pairs=24))
    assert len(found) == 4
    assert all(question.is_telling for question in found)


def test_relevant_documents_need_not_be_candidates() -> None:
    data = corpus(3, 6, 1)
    data.candidates.update({name: ["d3", "d4"] for name in data.queries})
    (question, *_) = sample(data, ProbeSettings(queries=3, pairs=12))
    assert {item.id for item in question.documents} == {"d0", "d3", "d4"}


def test_a_seed_draws_one_sample() -> None:
    data = corpus(20, 40, 3)
    one, same, other = (
        [
            (question.query.text, tuple(item.id for item in question.documents))
            for question in sample(data, ProbeSettings(queries=8, pairs=40, seed=seed))
        ]
        for seed in (1, 1, 2)
    )
    assert one == same
    assert Counter(one) != Counter(other)


def test_instructions_and_labels_go_along() -> None:
    found = sample(corpus(2, 6, 2), ProbeSettings(queries=2, pairs=12))
    asked = {question.query.text: question.instruction for question in found}
    assert asked == {"q0": "Find the first.", "q1": "Find any."}
    judged = judgements(found)
    assert judged.starts.tolist() == [0, 6, 12]
    assert sorted(judged.labels.tolist()) == [0.0] * 8 + [2.0] * 4
    assert judged.head(1).labels.tolist() == judged.labels[:6].tolist()
