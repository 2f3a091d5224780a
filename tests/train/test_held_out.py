"""What was held out is measured as it is, ties and broken scores included."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minireranker import Reranker
from minireranker.engine.state import EngineState
from minireranker.errors import ConfigurationError, NonFiniteScoreError
from minireranker.train.batch import PairBatch
from minireranker.train.examples import read_examples
from minireranker.train.held_out import HeldOut
from minireranker.train.plan import Bound
from minireranker.train.processes import Processes
from minireranker.train.survey import take_survey

NOWHERE = {"query": {"image": "no.png", "importances": [1.0]}, "positives": ["a"]}


@pytest.fixture(scope="module")
def state(small: Path) -> EngineState:
    return Reranker.from_pretrained(small, profile="mini", dtype="float32").state


def held_out(state: EngineState, path: Path) -> HeldOut:
    examples = read_examples([path])
    survey = take_survey(examples, state, None, progress=False)
    return HeldOut(state, examples, survey, Bound(64, 8192), share=True)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def always(value: float) -> Callable[[PairBatch], torch.Tensor]:
    return lambda batch: torch.full((len(batch.pairs),), value)


def test_a_model_that_ties_all_gains_nothing(state: EngineState, tmp_path: Path) -> None:
    """Whether the relevant document comes first in the file, or has been seen before, or last."""
    rows = [
        {"query": "one", "positives": ["a"], "negatives": ["b", "c"]},
        {"query": "two", "positives": ["d"], "negatives": ["a", "b"]},
        {"query": "three", "negatives": ["b", "c"], "positives": ["a"]},
    ]
    found = held_out(state, write_rows(tmp_path / "x.jsonl", rows))
    look = found.evaluate(3, always(0.25), Processes())
    assert look.ndcg == pytest.approx(1 / math.log2(4), abs=1e-6), "third of three, each time"
    losses = [math.log1p(math.exp(sign * 0.25)) for sign in (-1, 1, 1)]
    assert look.loss == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_a_query_without_a_relevant_document_is_not_counted(
    state: EngineState, tmp_path: Path
) -> None:
    rows = [{"query": "one", "negatives": ["a", "b"]}]
    path = write_rows(tmp_path / "x.jsonl", rows)
    look = held_out(state, path).evaluate(1, always(0.0), Processes())
    assert math.isnan(look.ndcg)
    assert look.facts()["ndcg"] is None
    write_rows(path, [*rows, {"query": "two", "positives": ["a"]}])
    assert held_out(state, path).evaluate(1, always(0.0), Processes()).ndcg == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_none_is_not_a_pair_that_is_missing(
    value: float, state: EngineState, tmp_path: Path
) -> None:
    rows = [{"query": "one", "positives": ["a"], "negatives": ["b"]}]
    found = held_out(state, write_rows(tmp_path / "x.jsonl", rows))
    with pytest.raises(NonFiniteScoreError, match="no finite score for 2 of 2 pairs"):
        found.evaluate(1, always(value), Processes())


def test_nothing_that_can_be_read_is_said_before_the_first_step(
    state: EngineState, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "x.jsonl", [NOWHERE])
    with pytest.raises(ConfigurationError, match=r"none of 1 held-out pairs.*x\.jsonl, line 1: "):
        held_out(state, path)
