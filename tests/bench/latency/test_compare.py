"""Two results side by side."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from minireranker.bench.latency.compare import compare, differences


def slower(result: dict[str, Any], factor: float) -> dict[str, Any]:
    """The same with every sample longer."""
    changed = copy.deepcopy(result)
    for run in changed["targets"][0]["runs"]:
        run["latencies"] = [factor * each for each in run["latencies"]]
        run["label"] += " again" if run["mode"] == "open" else ""
    changed["targets"][0]["index"]["seconds_a_document"] *= factor
    for name in ("seconds", "whole_seconds"):
        changed["turns"][name] = [factor * each for each in changed["turns"][name]]
    for row in changed["peers"]:
        row["seconds_a_pair"] = [factor * each for each in row["seconds_a_pair"]]
    return changed


def test_the_same_result_is_no_faster_and_no_slower(result: dict[str, Any]) -> None:
    found = compare(result, result)
    assert len(found) == 4 + 1 + 2 + 2
    for each in found:
        assert each.interval.ratio == 1.0
        assert each.interval.low <= 1.0 <= each.interval.high
        assert not each.is_slower(0.0)
    assert differences(result, result) == []


def longer(result: dict[str, Any]) -> dict[str, Any]:
    """Four times the samples of everything but reading."""
    changed = copy.deepcopy(result)
    for run in changed["targets"][0]["runs"]:
        run["latencies"] *= 4
    for name in ("seconds", "whole_seconds"):
        changed["turns"][name] *= 4
    for row in changed["peers"]:
        row["seconds_a_pair"] *= 4
    return changed


def test_a_slower_one_is_slower_beyond_a_bound(result: dict[str, Any]) -> None:
    result = longer(result)
    for each in compare(result, slower(result, 1000.0)):
        assert each.interval.ratio == pytest.approx(1000.0)
        known = not each.name.endswith("reading a document")
        assert each.is_slower(50.0) is known, "one sample tells nothing"
    for each in compare(slower(result, 1000.0), result):
        assert (each.interval.high < 1) is not each.name.endswith("reading a document")
        assert not each.is_slower(0.0)


def test_only_what_both_have_is_compared(result: dict[str, Any]) -> None:
    fewer = copy.deepcopy(result)
    del fewer["targets"][0]["runs"][0], fewer["peers"][0]
    fewer["turns"] = None
    names = [each.name for each in compare(result, fewer)]
    assert len(names) == 3 + 1 + 1
    assert "transformers: prefix" in names


def test_what_only_one_has_is_said(result: dict[str, Any]) -> None:
    fewer = copy.deepcopy(result)
    run = fewer["targets"][0]["runs"].pop(0)
    gone = fewer["peers"].pop(0)["name"]
    name = f"{fewer['targets'][0]['name']}: {run['label']}, warm-memory"
    assert differences(result, fewer) == [f"only the first has {name}; {gone}"]
    assert differences(fewer, result) == [f"only the second has {name}; {gone}"]


def test_other_versions_are_said(result: dict[str, Any]) -> None:
    other = copy.deepcopy(result)
    other["machine"]["torch"] = "9.9"
    other["model"]["profile"] = "wide"
    other["peers"][1]["versions"]["transformers"] = "1.0"
    said = differences(result, other)
    assert any(line.startswith("torch differs: 2.") for line in said)
    assert "profile differs: half and wide" in said
    assert any(line.startswith("peer transformers differs: ") for line in said)


def test_peers_are_told_from_ours(result: dict[str, Any]) -> None:
    theirs = {each.name for each in compare(result, result) if not each.is_ours}
    assert theirs == {"transformers: pairs", "transformers: prefix"}


def test_what_differs_is_said(result: dict[str, Any]) -> None:
    other = copy.deepcopy(result)
    other["workload"]["candidates"] = 7
    other["device"]["dtype"] = "bfloat16"
    other["finished"] = False
    said = differences(result, other)
    assert "candidates differs: 5 and 7" in said
    assert "dtype differs: float32 and bfloat16" in said
    assert "the second result is of an interrupted run" in said
