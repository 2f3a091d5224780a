"""A whole measurement on a tiny model: what it counts is checked, what it times only exists."""

from __future__ import annotations

import json
import statistics
from typing import Any

import jsonschema
import pytest

from minireranker.bench.latency.result import read_result, schema
from minireranker.errors import ConfigurationError


def check(result: dict[str, Any]) -> None:
    text = json.dumps(result, allow_nan=False)
    jsonschema.Draft202012Validator(schema()).validate(json.loads(text))


def test_the_schema_is_one_and_the_result_is_of_it(result: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    check(result)
    assert result["finished"]
    for name in ("workload", "gate", "targets"):
        with pytest.raises(jsonschema.ValidationError):
            check({key: value for key, value in result.items() if key != name})
    with pytest.raises(jsonschema.ValidationError, match="more"):
        check(result | {"more": 1})


def test_scores_were_equal_before_anything_was_timed(result: dict[str, Any]) -> None:
    gate = result["gate"]
    assert gate["passed"]
    assert gate["pairs"] == 4
    assert 0 < gate["difference_of_spread"] <= gate["tolerance"] == 1e-4


def test_every_mode_has_all_its_samples(result: dict[str, Any]) -> None:
    (target,) = result["targets"]
    runs = {run["mode"]: run for run in target["runs"]}
    assert list(runs) == ["offline", "single", "closed", "open"]
    assert [len(run["latencies"]) for run in runs.values()] == [2, 6, 6, 6]
    for run in runs.values():
        assert (run["queries"], run["pairs"], run["finished"]) == (6, 30, True)
        assert run["pairs_per_second"] == pytest.approx(5 * run["queries_per_second"])
        assert run["p50"] <= run["p90"] <= run["p95"] <= run["p99"] == max(run["latencies"])
        assert run["memory"]["peak"] > run["memory"]["weights"] > 0
    assert [runs[name]["cache_hit_rate"] for name in runs] == [None, 1.0, 1.0, 1.0]
    for name in ("closed", "open"):
        assert runs[name]["concurrency"] == 2
    assert runs["open"]["rate"] > 0
    assert min(runs["open"]["service"]) <= max(runs["open"]["latencies"])
    assert sum(of["share"] for of in runs["single"]["stages"].values()) == pytest.approx(1)
    assert runs["single"]["token_layers"]["prefix"] == 0, "everything was in the cache"


def test_what_was_reached_is_beneath_the_ceilings_of_the_run(result: dict[str, Any]) -> None:
    ceilings = result["ceilings"]
    for run in result["targets"][0]["runs"]:
        reached = run["reached"]
        flop = ceilings["query"]["flop"] * run["queries"] / run["seconds"]
        assert reached["flop_per_second"] == pytest.approx(flop)
        roof = min(
            ceilings["flop_per_second"], reached["flop_a_byte"] * ceilings["bytes_per_second"]
        )
        assert reached["share_of_roof"] == pytest.approx(flop / roof)


def test_peers_were_timed_in_turns_on_the_same_pairs(result: dict[str, Any]) -> None:
    turns = result["turns"]
    assert turns["units"] == [0, 1, 0, 1]
    assert [row["name"] for row in result["peers"]] == [
        "transformers: pairs",
        "transformers: prefix",
    ]
    for row in result["peers"]:
        assert row["status"] == "measured", row["reason"]
        assert len(row["seconds_a_pair"]) == 4
        assert len(row["cold_seconds_a_pair"]) == 2
        ratios = [2 * a / b for a, b in zip(row["seconds_a_pair"], turns["seconds"], strict=True)]
        assert row["ratio"]["median"] == pytest.approx(statistics.median(ratios))
        assert row["ratio"]["low"] == pytest.approx(min(ratios))
        scaled = [
            5 * a / b for a, b in zip(row["seconds_a_pair"], turns["whole_seconds"], strict=True)
        ]
        assert row["scaled_ratio"]["high"] == pytest.approx(max(scaled))
        assert row["versions"]["transformers"]
        assert row["interpreter"] != "none"
        assert row["peak_memory"] > 2**26


def test_peers_scores_are_the_unmodified_models(result: dict[str, Any]) -> None:
    orders = {row["method"]: row["order"] for row in result["peers"]}
    assert orders == {"pairs": "dense-query-first", "prefix": "dense"}
    for row in result["peers"]:
        agreement = row["agreement"]
        assert agreement["agrees"], agreement
        assert agreement["pairs"] == 4
        assert agreement["difference"] <= agreement["tolerance"] < 1e-3


def test_a_kept_prefix_is_not_computed_again_while_it_is_timed(result: dict[str, Any]) -> None:
    found = {row["method"]: row["prefixes"] for row in result["peers"]}
    assert found["prefix"]["computed"] == 0
    # Two pairs a call: of every turn one or more, and of the one that is not timed.
    assert found["prefix"]["reused"] >= 10
    assert found["prefix"]["reused"] % 2 == 0


def test_reading_is_apart_and_amortised(result: dict[str, Any]) -> None:
    (target,) = result["targets"]
    index = target["index"]
    assert index["documents"] == 6
    assert index["seconds_a_document"] == pytest.approx(index["seconds"] / 6)
    tokens = 3 + 2 + 6  # half of six visual tokens, their borders, a label and a newline
    assert index["bytes_a_document"] == tokens * (2 * 32) * 2 * 4 + 3 * 4
    pair = result["turns"]["whole_seconds_a_pair"]
    assert target["amortised"]["10"] == pytest.approx(index["seconds_a_document"] / 10 + pair)


def test_it_is_read_back(result: dict[str, Any], tmp_path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    assert read_result(path) == result
    path.write_text(json.dumps(result | {"version": 99}))
    with pytest.raises(ConfigurationError, match="version 99, this program reads 1"):
        read_result(path)
    path.write_text(json.dumps({"version": 1, "machine": {}}))
    with pytest.raises(ConfigurationError, match="no result of bench latency"):
        read_result(path)
    path.write_text("{")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_result(path)
