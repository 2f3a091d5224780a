"""States of the cache, kinds of workload, and measurements that end early."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from minireranker.bench.latency import LatencyBench, LatencyWorkload
from minireranker.bench.latency.modes import Mode
from minireranker.bench.latency.plan import Asked
from minireranker.bench.latency.result import schema
from minireranker.errors import ConfigurationError
from minireranker.models.synth import synthesize

from .conftest import LOAD

Measured = Callable[..., dict[str, Any]]
ONE = Asked(sample=2, units=1, rounds=1, repeats=1)


def stop_at(step: str, how: BaseException | None = None) -> Callable[[str], None]:
    def say(line: str) -> None:
        if line.startswith(step):
            raise how or KeyboardInterrupt

    return say


def check(result: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(result, allow_nan=False)
    jsonschema.Draft202012Validator(schema()).validate(json.loads(text))
    return result


@pytest.mark.parametrize(("cache", "hits", "read"), [("warm-disk", 1.0, 0), ("cold", 0.0, 5)])
def test_a_query_finds_its_candidates_where_it_was_said(
    measured: Measured, cache: str, hits: float, read: int
) -> None:
    load = dataclasses.replace(LOAD, queries=2)
    found = check(measured(load, cache=cache, asked=ONE))
    run = found["targets"][0]["runs"][1]
    assert (run["mode"], run["cache"], run["cache_hit_rate"]) == ("single", cache, hits)
    layers = run["token_layers"]["prefix"]
    assert (layers > 0) is (read > 0)
    assert ("reached" in run) is (cache != "cold")
    assert (found["targets"][0]["amortised"] is None) is (cache == "cold")


def test_in_a_stream_what_was_read_stays(measured: Measured) -> None:
    load = dataclasses.replace(LOAD, queries=4, documents=5, stream=True)
    found = check(measured(load, modes=(Mode("single"),), asked=ONE))
    assert found["settings"]["streams"]
    (run,) = found["targets"][0]["runs"]
    assert run["queries"] == 4, "a stream is driven once"
    assert run["cache_hit_rate"] == 15 / 20, "five pages are read, by the first query"
    assert found["targets"][0]["index"] is None


def test_a_query_may_be_an_image_and_a_document_a_video(measured: Measured) -> None:
    texts = LatencyWorkload(
        "i2t",
        query="image",
        document="text",
        queries=2,
        documents=4,
        candidates=3,
        width=64,
        height=64,
        document_words=4,
    )
    found = check(measured(texts, asked=ONE))
    assert found["ceilings"] is None
    assert any("no roofline" in line for line in found["settings"]["said"])
    videos = dataclasses.replace(LOAD, document="video", frames=3, documents=3, queries=1)
    found = check(measured(videos, asked=ONE))
    assert found["gate"]["passed"]
    assert found["targets"][0]["runs"][0]["reached"]["share_of_roof"] > 0


@pytest.mark.parametrize(
    ("step", "runs"), [("gate: scoring", None), ("offline", 0), ("one after", 1), ("what", 2)]
)
def test_an_interrupt_keeps_what_is_finished(
    measured: Measured, step: str, runs: int | None
) -> None:
    load = dataclasses.replace(LOAD, queries=1)
    found = check(measured(load, stop_at(step), asked=ONE))
    assert not found["finished"]
    assert step in found["stopped"]
    if runs is None:
        assert (found["gate"], found["targets"]) == (None, [])
    else:
        assert len(found["targets"][0]["runs"]) == runs
        assert all(run["finished"] for run in found["targets"][0]["runs"])


def test_what_fails_keeps_what_was_timed_before(measured: Measured) -> None:
    load, gone = dataclasses.replace(LOAD, queries=1), OSError("the sidecar has gone")
    found = check(measured(load, stop_at("what this machine can do", gone), asked=ONE))
    assert not found["finished"]
    assert found["stopped"].startswith("failed (OSError: the sidecar has gone) while what this")
    assert len(found["targets"][0]["runs"]) == 2
    with pytest.raises(OSError, match="gone"):
        measured(load, stop_at("indexing", gone), asked=ONE)


def test_scores_that_differ_leave_no_timing(measured: Measured, tiny: Path, tmp_path: Path) -> None:
    """Weights exchanged on the disk between the two sides of the gate: an engine that is wrong."""
    model = shutil.copytree(tiny, tmp_path / "model")
    other = synthesize(tmp_path / "other", "tiny", seed=1)

    def say(line: str) -> None:
        if line.startswith("gate: the same pairs by the engine"):
            shutil.copyfile(other / "model.safetensors", model / "model.safetensors")

    found = check(measured(say=say, model=model, asked=ONE))
    assert not found["gate"]["passed"]
    assert found["gate"]["difference_of_spread"] > 1e-4
    assert (found["targets"], found["peers"], found["turns"]) == ([], [], None)
    assert found["finished"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"cache": "hot"}, "cache 'hot': allowed is one of warm-memory, warm-disk, cold"),
        ({"modes": ()}, "no mode"),
        ({"peers": ("jina",)}, "peer 'jina'"),
        ({"cache": "cold", "modes": (Mode("open"),)}, "mode open with --cache cold"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        LatencyBench(Path("unused"), LOAD, **fields)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "burst"}, "mode 'burst': allowed is one of offline, single, closed, open"),
        ({"name": "closed", "concurrency": 0}, "concurrency = 0"),
        ({"name": "open", "rate": 0.0}, "rate = 0"),
        ({"name": "open", "rate": float("nan")}, "rate = nan"),
    ],
)
def test_a_mode_is_checked(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Mode(**fields)


def test_entries_that_did_not_stay_are_not_called_warm(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minireranker.bench.latency.admission.require_memory", lambda *_: 5_000)
    with pytest.raises(ConfigurationError, match=r"entries did not stay in the 0\.0 MiB"):
        measured(asked=ONE)
    assert measured(asked=ONE, cache="warm-disk")["finished"]


def test_a_profile_that_keeps_nothing_of_documents_is_refused(measured: Measured) -> None:
    with pytest.raises(ConfigurationError, match="puts the query first"):
        measured(profile="dense-query-first", asked=ONE)


def test_a_model_beyond_memory_is_refused_before_it_is_loaded(
    measured: Measured, tiny: Path, tmp_path: Path
) -> None:
    """Only the header says how large the weights are; a file of holes says a lot."""
    model = shutil.copytree(tiny, tmp_path / "large")
    rows = 2**40 // (64 * 2)
    size = rows * 64 * 2
    header = json.dumps(
        {"model.embed": {"dtype": "BF16", "shape": [rows, 64], "data_offsets": [0, size]}}
    ).encode()
    with (model / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    said: list[str] = []
    with pytest.raises(ConfigurationError, match=r"large needs \d+\.\d GiB of memory in float32"):
        measured(say=said.append, model=model, asked=ONE)
    assert said == []
