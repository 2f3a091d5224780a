"""The report of a search: every stage, what failed in which, and scores that are no number."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from minireranker.engine.content import Query
from minireranker.engine.types import FailedDocument, Work
from minireranker.errors import MediaError
from minireranker.report.search import write_search_report
from minireranker.retrieval.search_result import Hit, SearchResult, StageRecord


def stage(name: str, system: str, scores: dict[str, float], **facts: object) -> StageRecord:
    ids, values = np.array(list(scores), object), np.array(list(scores.values()), np.float32)
    return StageRecord(name, system, 7, len(scores), ids, values, **facts)  # type: ignore[arg-type]


def written(result: SearchResult, folder: Path) -> str:
    write_search_report(folder / "r.html", query=Query(text="a map"), result=result)
    return (folder / "r.html").read_text()


@pytest.mark.parametrize("best", [0.5, -math.inf])
def test_a_score_without_end_is_told_and_not_drawn(best: float, tmp_path: Path) -> None:
    scores = {"a": best, "b": -math.inf}
    hits = tuple(Hit(at, name, {"rescore": scores[name]}) for at, name in enumerate("ab", 1))
    page = written(SearchResult(hits, (stage("rescore", "smart", scores),)), tmp_path)
    assert page.count('<li class="card') == 2
    assert "<b>-inf</b>" in page
    chart = page.partition("<svg")[2].partition("</svg>")[0]
    assert ("<rect" in chart) is math.isfinite(best)
    assert "inf" not in chart
    assert "nan" not in chart
    assert "cache misses" not in page, "no reranker, no cache"


def test_what_failed_is_named_with_its_stage_and_escaped(tmp_path: Path) -> None:
    failed = FailedDocument(3, "<b>", MediaError("damaged & gone"), None)
    stages = (
        stage("retrieve", "smart", {"a": 0.5}),
        stage("rerank", "reranker", {"a": 1.5}, failed=(failed,), work=Work(cache_misses=1_234)),
    )
    page = written(SearchResult((Hit(1, "a", {"rerank": 1.5}, 0.8),), stages), tmp_path)
    assert "<tr><td>rerank</td><td>&lt;b&gt;</td><td>damaged &amp; gone</td></tr>" in page
    assert "<dt>cache misses</dt><dd>1,234</dd>" in page
    assert "<td>retrieve (smart)</td><td>7</td><td>1</td><td>0</td>" in page
