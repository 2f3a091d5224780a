"""Figures over rankings: by hand, and as trec_eval's own implementations have them."""

import math
import random
import sys

import ir_measures
import pytest

from minireranker.errors import ConfigurationError, InputError, MissingDependencyError
from minireranker.relevance import hit, mrr, ndcg

QRELS = {"a": {"x": 3.0, "y": 1.0, "z": 0.0}, "b": {"x": 1.0}}
RUN = {"a": ["y", "z", "x"], "b": ["w", "x"]}


def test_ndcg_is_what_a_hand_computes():
    ideal = 3 / math.log2(2) + 1 / math.log2(3)
    found = ndcg(QRELS, RUN, 10)
    assert found["a"] == pytest.approx((1 / math.log2(2) + 3 / math.log2(4)) / ideal)
    assert found["b"] == pytest.approx(1 / math.log2(3))


def test_ndcg_stops_at_k():
    assert ndcg(QRELS, RUN, 1) == pytest.approx({"a": 1 / 3, "b": 0.0})


def test_hit_and_mrr_ask_for_the_first_relevant():
    assert hit(QRELS, RUN) == {"a": 1.0, "b": 0.0}
    assert hit(QRELS, RUN, 2) == {"a": 1.0, "b": 1.0}
    assert mrr(QRELS, RUN) == {"a": 1.0, "b": 0.5}
    assert mrr(QRELS, RUN, 1) == {"a": 1.0, "b": 0.0}


def test_a_query_the_run_does_not_have_is_worth_nothing():
    assert ndcg(QRELS, {"a": ["x", "y"]}) == {"a": 1.0, "b": 0.0}
    assert hit(QRELS, {"b": []}) == {"a": 0.0, "b": 0.0}


def test_queries_without_judgments_do_not_count():
    assert list(mrr(QRELS, {**RUN, "c": ["x"]})) == ["a", "b"]


def test_fractions_are_gains_and_half_is_relevant():
    qrels = {"a": {"x": 1.0, "y": 0.5, "z": 0.25}}
    ideal = 1 + 0.5 / math.log2(3) + 0.25 / math.log2(4)
    worst = 0.25 + 0.5 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(qrels, {"a": ["z", "y", "x"]})["a"] == pytest.approx(worst / ideal, abs=1e-6)
    assert hit(qrels, {"a": ["y", "x", "z"]})["a"] == 1.0
    assert mrr(qrels, {"a": ["z", "y", "x"]})["a"] == 0.5


def test_a_negative_grade_is_worth_nothing():
    assert ndcg({"a": {"x": -2.0, "y": 1.0}}, {"a": ["y", "x"]})["a"] == 1.0


@pytest.mark.parametrize("unit", [1.0, 0.5, 1e6, 3e9, 1e15])
def test_any_unit_of_grades_gives_the_same_gains(unit):
    qrels = {"a": {"x": 3 * unit, "y": unit}}
    ideal = 3 + 1 / math.log2(3)
    worst = 1 + 3 / math.log2(3)
    assert ndcg(qrels, {"a": ["y", "x"]})["a"] == pytest.approx(worst / ideal, abs=1e-5)


def test_they_are_what_ir_measures_says_of_whole_grades():
    source = random.Random(3)
    names = [f"d{at}" for at in range(40)]
    qrels = {
        f"q{at}": {name: source.choice([0, 0, 1, 2, 3]) for name in source.sample(names, 15)}
        for at in range(20)
    }
    run = {query: source.sample(names, 30) for query in qrels}
    scored = {query: {name: -at for at, name in enumerate(run[query])} for query in qrels}
    for ours, theirs in (
        (ndcg(qrels, run, 5), ir_measures.nDCG @ 5),
        (ndcg(qrels, run, 10), ir_measures.nDCG @ 10),
        (hit(qrels, run, 3), ir_measures.Success @ 3),
        (mrr(qrels, run, 30), ir_measures.RR),
    ):
        values = {v.query_id: v.value for v in ir_measures.iter_calc([theirs], qrels, scored)}
        assert ours == pytest.approx(values)


@pytest.mark.parametrize("k", [0, -1, 2.0, True])
def test_a_cut_that_cannot_be_is_refused(k):
    with pytest.raises(ConfigurationError, match="allowed is 1 or more"):
        ndcg(QRELS, RUN, k)


def test_a_document_twice_is_refused():
    with pytest.raises(InputError, match="'a' has a document twice"):
        hit(QRELS, {"a": ["x", "y", "x"]})


def test_without_ir_measures_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingDependencyError, match=r"minireranker\[quality\]"):
        ndcg(QRELS, RUN)
