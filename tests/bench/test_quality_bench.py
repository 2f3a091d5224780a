"""The quality benchmark with real models: scores are the engine's, failures are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minireranker import Embedder, Reranker
from minireranker.bench.quality import QualityBench, run
from minireranker.bench.quality_figures import Figures
from minireranker.bench.quality_run import Outcome, measure
from minireranker.bench.quality_scorers import Reranked
from minireranker.bench.quality_systems import Wanted, systems
from minireranker.cache import Cache
from minireranker.errors import ConfigurationError, InputError
from minireranker.relevance import Dataset, ndcg, open_dataset

FEW = Figures(resamples=50)


def quiet(line: str) -> None:
    pass


def outcomes(dataset: Dataset, wanted: Wanted) -> dict[str, Outcome]:
    found = {}
    for system in systems(wanted, dataset):
        with system.open(dataset) as scorer:
            found[system.name] = measure(dataset, scorer, lambda steps: None)
    return found


def means(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: found["mean"] for name, found in row["metrics"].items()}


def test_a_rerankers_scores_are_the_engines(
    tiny: Path, quality_data: Dataset, dense: Reranker
) -> None:
    found = outcomes(quality_data, Wanted(str(tiny), ("dense",), dtype="float32"))["dense"]
    for query, listed in quality_data.candidates.items():
        (expected,) = dense.score(
            [quality_data.queries[query]],
            [quality_data.documents[name] for name in listed],
            instruction=quality_data.instruction_of(query),
        )
        np.testing.assert_array_equal(found.scores[query], expected)
    assert not found.failed


def test_an_embedders_scores_are_cosines(tiny: Path, quality_data: Dataset) -> None:
    wanted = Wanted(None, embedder=str(tiny), dtype="float32")
    found = outcomes(quality_data, wanted)["embedder"]
    embedder = Embedder.from_pretrained(tiny, dtype="float32")
    for query, listed in quality_data.candidates.items():
        asked = quality_data.instruction_of(query)
        vector = embedder.encode([quality_data.queries[query]], instruction=asked).pooled[0]
        others = embedder.encode([quality_data.documents[name] for name in listed]).pooled
        np.testing.assert_allclose(found.scores[query], others @ vector, atol=1e-5)


def test_a_result_has_every_row_and_is_json(tiny: Path, quality_data: Dataset) -> None:
    wanted = Wanted(str(tiny), ("dense", "mini"), ("mini",), str(tiny), dtype="float32")
    result = run(QualityBench(quality_data, wanted, figures=FEW), quiet)
    assert list(result["systems"]) == [
        *("retriever", "embedder", "dense", "mini", "mini: exit only", "mini: band only")
    ]
    assert result["reference"] == "dense"
    assert not result["interrupted"]
    assert {row["queries"] for row in result["systems"].values()} == {3}
    assert result["systems"]["dense"]["agreement"] is None
    assert result["systems"]["mini"]["metrics"]["nDCG@10"]["difference"]["share"] > 0
    assert result["workload"]["pairs"] == 10
    assert result["machine"]["torch"]
    places = {name: (row["device"], row["dtype"]) for name, row in result["systems"].items()}
    assert places["retriever"] == (None, None)
    assert places["embedder"] == places["mini"] == ("cpu", "float32")
    json.dumps(result, allow_nan=False)


def test_the_retrievers_row_is_the_order_of_its_file(quality_data: Dataset) -> None:
    with pytest.raises(ConfigurationError, match="there are retriever; name one"):
        run(QualityBench(quality_data, Wanted(None), "dense", FEW), quiet)
    result = run(QualityBench(quality_data, Wanted(None), figures=FEW), quiet)
    values = ndcg(quality_data.qrels, quality_data.candidates, 10)
    assert result["reference"] is None
    assert means(result["systems"]["retriever"])["nDCG@10"] == pytest.approx(
        sum(values.values()) / 3
    )
    assert result["workload"]["best_ndcg_at_10"] == 1.0


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(
    tiny: Path, quality_folder: Path
) -> None:
    (quality_folder / "photo.png").write_bytes(b"no picture")
    data = open_dataset(quality_folder)
    wanted = Wanted(str(tiny), ("dense",), embedder=str(tiny), dtype="float32")
    found = outcomes(data, wanted)
    for name in ("dense", "embedder"):
        named = sorted(map(str, found[name].failed))
        assert [line.partition(":")[0] for line in named] == ["document photo", "query seen"]
        assert found[name].ranking("seen") == []
        assert found[name].ranking("other")[-1] == "photo"
        assert len(found[name].finished) == 3
    row = run(QualityBench(data, wanted, figures=FEW), quiet)["systems"]["dense"]
    assert (row["failed_documents"], row["failed_queries"]) == (1, 1)
    assert len(row["failed"]) == 2
    assert row["metrics"]["Hit@1"]["high"] <= 1.0


def test_a_run_in_which_no_query_can_be_read_is_an_error(tiny: Path, quality_folder: Path) -> None:
    (quality_folder / "photo.png").unlink()
    data = open_dataset(quality_folder).only(["seen"])
    with pytest.raises(InputError, match=r"dense: no query can be read; query seen: .*photo\.png"):
        run(QualityBench(data, Wanted(str(tiny), ("dense",)), figures=FEW), quiet)


def test_a_document_is_read_once_however_many_ask_for_it(
    tiny: Path, quality_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (quality_folder / "candidates.jsonl").unlink()
    rows = [{"_id": f"q{at}", "text": f"query {at}"} for at in range(5)]
    text = "\n".join(map(json.dumps, rows))
    (quality_folder / "queries.jsonl").write_text(text, encoding="utf-8")
    qrels = "\n".join(f"q{at}\tred\t1" for at in range(5))
    (quality_folder / "qrels.tsv").write_text(qrels, encoding="utf-8")
    data = open_dataset(quality_folder)
    assert data.pairs == 25, "all documents for every query"
    monkeypatch.setattr("minireranker.bench.quality_parts.DOCUMENTS", 2)
    cache = Cache(memory_bytes=0)
    reranker = Reranker.from_pretrained(tiny, profile="dense", cache=cache)
    measure(data, Reranked(reranker, data), lambda steps: None)
    assert cache.memory.stats.misses == 5, "nothing is kept, so a second reading would count"


def test_a_cache_folder_serves_the_next_run(
    tiny: Path, quality_folder: Path, tmp_path: Path
) -> None:
    data = open_dataset(quality_folder).only(["words", "other"])
    wanted = Wanted(str(tiny), ("mini",), cache=tmp_path / "kept")
    first = outcomes(data, wanted)["mini"]
    assert list((tmp_path / "kept").iterdir())
    again = outcomes(data, wanted)["mini"]
    for query in data.queries:
        np.testing.assert_array_equal(first.scores[query], again.scores[query])
    shutil.rmtree(tmp_path / "kept")


def test_an_interrupt_keeps_the_systems_that_are_finished(
    tiny: Path, quality_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Reranker.score_candidates

    def interrupted(self: Reranker, *args: Any, **kwargs: Any) -> Any:
        if self.profile.name == "mini":
            raise KeyboardInterrupt
        return score(self, *args, **kwargs)

    monkeypatch.setattr(Reranker, "score_candidates", interrupted)
    wanted = Wanted(str(tiny), ("dense", "mini"), ("mini",))
    result = run(QualityBench(quality_data, wanted, figures=FEW), quiet)
    assert result["interrupted"]
    assert result["not_begun"] == ["mini: exit only", "mini: band only"]
    assert result["systems"]["dense"]["queries"] == 3
    assert result["systems"]["mini"]["queries"] == 0
    json.dumps(result, allow_nan=False)


def test_a_model_that_fails_costs_its_own_row(
    tiny: Path, quality_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Reranker.score_candidates

    def failing(self: Reranker, *args: Any, **kwargs: Any) -> Any:
        if self.profile.name == wanted.profiles[at]:
            raise RuntimeError("out of memory")
        return score(self, *args, **kwargs)

    monkeypatch.setattr(Reranker, "score_candidates", failing)
    wanted, at = Wanted(str(tiny), ("dense", "mini"), ("mini",)), 1
    result = run(QualityBench(quality_data, wanted, figures=FEW), quiet)
    assert list(result["systems"]) == ["retriever", "dense", "mini: exit only", "mini: band only"]
    assert result["errors"] == {"mini": "out of memory"}
    assert not result["interrupted"]
    assert result["not_begun"] == []
    at = 0
    with pytest.raises(RuntimeError, match="out of memory"):
        run(QualityBench(quality_data, wanted, figures=FEW), quiet)
