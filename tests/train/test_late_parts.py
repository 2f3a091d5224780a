"""The score, the contest and the plan of the retrieval side's training, without a model."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.errors import ConfigurationError
from minireranker.kernels.maxsim import maxsim as kernel
from minireranker.relevance import DrawnSettings, draw_dataset
from minireranker.retrieval.late_interaction import GROUPS
from minireranker.train.examples import read_examples
from minireranker.train.late import MetaEmbedSettings, RetrievalLook, SmartSettings
from minireranker.train.late.contrast import Contest
from minireranker.train.late.held_out import measure
from minireranker.train.late.interaction import group_scores, maxsim
from minireranker.train.late.lessons import (
    Input,
    Lesson,
    Question,
    plan_steps,
    require_contrast,
    require_lessons,
)


def scored(queries: list[torch.Tensor], documents: list[torch.Tensor], reduce: str) -> torch.Tensor:
    lengths = torch.tensor([len(each) for each in documents])
    return kernel(
        torch.cat(queries),
        torch.cat(documents),
        cu_seqlens_q=[0, *accumulate(map(len, queries))],
        starts=lengths.cumsum(0) - lengths,
        lengths=lengths,
        reduce=reduce,
    )


@settings(max_examples=25, deadline=None)
@given(
    lengths_q=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    lengths_d=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    dim=st.integers(1, 33),
    reduce=st.sampled_from(["sum", "mean"]),
    seed=st.integers(0, 99),
)
def test_maxsim_is_the_kernels(
    lengths_q: list[int], lengths_d: list[int], dim: int, reduce: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries, documents = (
        [torch.nn.functional.normalize(torch.randn(n, dim, generator=generator)) for n in lengths]
        for lengths in (lengths_q, lengths_d)
    )
    found = maxsim(queries, documents, reduce=reduce)
    torch.testing.assert_close(found, scored(queries, documents, reduce), rtol=0, atol=1e-5)


def test_group_scores_are_the_kernels_and_have_a_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    queries = torch.nn.functional.normalize(torch.randn(3, 16, 24, generator=generator), dim=-1)
    documents = torch.nn.functional.normalize(torch.randn(5, 64, 24, generator=generator), dim=-1)
    queries.requires_grad_()
    documents.requires_grad_()
    found = group_scores(queries, documents)
    assert len(found) == len(GROUPS)
    for scores, group in zip(found, GROUPS, strict=True):
        wanted = scored(
            list(queries.detach()[:, : group.queries]),
            list(documents.detach()[:, : group.candidates]),
            "sum",
        )
        torch.testing.assert_close(scores.detach(), wanted, rtol=0, atol=1e-5)
    found[-1].sum().backward()
    assert queries.grad is not None
    assert (queries.grad.abs().sum(-1) > 0).all()
    assert documents.grad is not None
    assert documents.grad.abs().sum() > 0


def question(query: int, **labels: float) -> Question:
    return Question(Input(query, True), {int(name[1:]): label for name, label in labels.items()})


def _documents(*contents: int) -> list[Input]:
    return [Input(content, False) for content in contents]


def test_who_meets_whom() -> None:
    """Query 0 has positives 10 and 11 and negative 12; query 1 has positive 11."""
    first, second = question(0, d10=1.0, d11=0.5, d12=0.4), question(1, d11=1.0)
    assert (first.positives, first.negatives) == ([10, 11], [12])
    lessons = [Lesson(first, 10, (12,)), Lesson(second, 11), Lesson(first, 11)]
    every = {Input(0, True), Input(1, True), *(Input(at, False) for at in (10, 11, 12))}
    contest = Contest.of(lessons, every)
    assert contest is not None
    assert [item.content for item in contest.queries] == [0, 1, 0]
    assert [item.content for item in contest.documents] == [10, 11, 12]
    assert contest.positives.tolist() == [0, 1, 1]
    assert contest.counts.tolist() == [
        [True, False, True],
        [True, True, True],
        [False, True, True],
    ]
    scores = torch.tensor([[0.3, 9.0, 0.1], [0.2, 0.4, 0.1], [9.0, 0.5, 0.2]])
    wanted = 0.0
    for row, (positive, met) in enumerate([(0, [0, 2]), (1, [0, 1, 2]), (1, [1, 2])]):
        powers = np.exp(scores[row].double().numpy() / 0.03)
        wanted -= np.log(powers[positive] / powers[met].sum())
    assert float(contest.loss(scores, 0.03)) == pytest.approx(wanted, rel=1e-4)
    less = Contest.of(lessons, every - {Input(11, False)})
    assert less is not None
    assert [item.content for item in less.queries] == [0]
    assert [item.content for item in less.documents] == [10, 12]
    assert Contest.of(lessons, every - {Input(0, True), Input(11, False)}) is None


def test_every_positive_is_one_lesson_an_epoch() -> None:
    asked = [question(at, **{f"d{at + 10}": 1.0, "d50": 1.0, "d60": 0.0, "d61": 0.0, "d62": 0.1})
             for at in range(5)]  # fmt: skip
    plan = plan_steps(asked, seed=3, epochs=2, together=4, negatives=2)
    assert [len(step) for step in plan] == [4, 4, 2, 4, 4, 2]
    epochs = [[lesson for step in part for lesson in step] for part in (plan[:3], plan[3:])]
    for lessons in epochs:
        pairs = {(lesson.question.query.content, lesson.positive) for lesson in lessons}
        assert pairs == {(at, document) for at in range(5) for document in (at + 10, 50)}
        assert all(len(set(lesson.negatives)) == 2 for lesson in lessons)
        assert all(set(lesson.negatives) <= {60, 61, 62} for lesson in lessons)
    assert epochs[0] != epochs[1]
    assert plan == plan_steps(asked, seed=3, epochs=2, together=4, negatives=2)
    assert plan != plan_steps(asked, seed=4, epochs=2, together=4, negatives=2)
    assert plan_steps(asked, seed=3, epochs=9, together=4, negatives=2, most=5) == plan[:5]


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(ConfigurationError, match=r"0\.5 or more \(2 contents .*first: cut off"):
        require_lessons([question(0, d1=0.2, d2=0.0)], {5: "cut off", 6: "gone"})
    with pytest.raises(ConfigurationError, match="one and the same document"):
        require_lessons([question(0, d1=1.0), question(2, d1=1.0)], {})
    require_lessons([question(0, d1=1.0), question(2, d3=1.0)], {})


@pytest.mark.parametrize(("together", "negatives"), [(1, 0), (1, 2), (2, 0)])
def test_steps_without_a_contest_are_refused(together: int, negatives: int) -> None:
    """Their loss is 0 whatever the vectors are."""
    asked = [question(0, d1=1.0, d2=1.0), question(3, d4=1.0)]
    if negatives:
        asked[1].labels[5] = 0.0
    plan = plan_steps(asked, seed=0, epochs=1, together=together, negatives=negatives)
    if together == 1 and not negatives:
        contest = Contest.of(plan[0], {asked[0].query, asked[1].query, *_documents(1, 2, 4)})
        assert contest is not None
        assert float(contest.loss(torch.zeros(1, 1), 0.03)) == 0.0
        with pytest.raises(ConfigurationError, match="raise batch_queries or negatives"):
            require_contrast(plan)
    else:
        require_contrast(plan)


def test_what_a_folder_lists_without_an_order_is_learned_from(tmp_path: Path) -> None:
    """Of drawn scenes what fits is judged; all else that a query is up against is only listed."""
    draw_dataset(tmp_path / "drawn", DrawnSettings(queries=2, candidates=6), progress=False)
    labels = [pair.label for pair in read_examples([tmp_path / "drawn"], to_train=True).pairs]
    assert len(labels) == 12
    assert 2 <= sum(labels) <= 6


def test_of_equal_documents_the_relevant_one_is_not_preferred() -> None:
    asked = [question(0, d10=1.0, d11=0.0), question(1, d11=1.0), question(2, d10=0.0)]
    scores = np.array([[1, 1, 0], [0, 2, 1], [5, 0, 0]], np.float32)
    hits, gains = measure(asked, [10, 11, 12], scores)
    assert hits == 0.5, "the third query has no relevant document"
    assert gains == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert np.isnan(measure(asked[2:], [10], scores[2:, :1])).all()


def test_the_best_look() -> None:
    one, two = RetrievalLook(1, 0.5, 0.7), RetrievalLook(2, 0.6, 0.7)
    assert two.beats(one)
    assert two.beats(None)
    assert not one.beats(two)
    assert RetrievalLook(3, 0.6, 0.7).beats(two), "of equal ones the later"
    unknown = RetrievalLook(1, float("nan"), float("nan"), {"1,1": {"hit@1": float("nan")}})
    assert unknown.figures()["hit@1"] is None
    json.dumps([unknown.figures(), unknown.facts()], allow_nan=False)


@pytest.mark.parametrize("kind", [MetaEmbedSettings, SmartSettings])
@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 0), ("batch_queries", 0), ("negatives", -1), ("dtype", "int8"), ("data", ())],
)
def test_what_cannot_be_honoured_is_refused(kind: type, name: str, value: object) -> None:
    given = {"model": "m", "data": ("d",), "out": "o"} | {name: value}
    with pytest.raises(ConfigurationError, match=name if value != () else "no data"):
        kind(**given)


def test_defaults_are_the_papers() -> None:
    meta, smart = (kind("m", ("d",), "o") for kind in (MetaEmbedSettings, SmartSettings))
    assert (meta.lora.rank, meta.lora.alpha, len(meta.lora.targets)) == (32, 32, 7)
    assert meta.temperature == smart.temperature == 0.03
    assert (smart.learning_rate, smart.epochs) == (1e-3, 2)
