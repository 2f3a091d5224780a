"""What the README quotes is what the committed results say."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench/results"
LATENCY = sorted(RESULTS.glob("latency-*.json"))


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_each_names_its_machine_and_its_command(path: Path) -> None:
    machine = result(path.name)["machine"]
    assert machine["cpu"]
    assert machine["command"].startswith("minireranker bench ")
    assert not re.search(r"(^|[\s=])/", machine["command"]), "a path of somebody's machine"


@pytest.mark.parametrize("path", LATENCY, ids=lambda path: path.stem)
def test_those_of_latency_follow_their_schema(path: Path) -> None:
    schema = json.loads((ROOT / "bench/latency/result.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(result(path.name), schema)
    assert result(path.name)["finished"]


@pytest.mark.parametrize("path", sorted(RESULTS.iterdir()), ids=lambda path: path.name)
def test_each_is_quoted_or_drawn_somewhere(path: Path) -> None:
    texts = [ROOT / "README.md", ROOT / "DECISIONS.md", ROOT / "Makefile"]
    assert any(path.name in text.read_text(encoding="utf-8") for text in texts)


def test_the_precisions_are_the_measured_ones(readme: str) -> None:
    found = result("precision-2b-cpu.json")
    plain, eight = (found["precisions"][name] for name in ("bfloat16", "int8"))
    share = f"{100 * found['share_of_gemm_rate']:.0f} %"
    for name, row, rate in (("bfloat16", plain, share), ('`dtype="int8"`', eight, "")):
        faster = "" if row is plain else f" ({row['speedup']:.2f} x)"
        errors = [row["rms_error_of_spread"], row["rms_error_between_documents"]]
        cells = [name, f"{row['seconds']:.1f}{faster}", rate, *(f"{error:.2f}" for error in errors)]
        assert re.sub(" +", " ", f"| {' | '.join(cells)} |") in re.sub(" +", " ", readme)


def test_the_engines_figures_are_the_measured_ones(readme: str) -> None:
    found = result("engine-2b-cpu.json")
    mini, dense = found["mini"], found["dense"]
    for row in (
        f"| the query over 100 cached images | {mini['seconds']:.1f} s |",
        f"| reduced / dense | {100 * found['mini_over_dense']:.2f} % |",
        f"(3 pairs timed, scaled) | {dense['seconds']:.0f} s |",
        f"work that is left | {100 * mini['share_of_gemm_rate']:.1f} % |",
    ):
        assert row in readme


def test_the_peers_figures_are_the_measured_ones(readme: str) -> None:
    found = result("latency-coco-t2i-2b-cpu.json")
    ours = 1000 * found["turns"]["whole_seconds_a_pair"]
    assert f"| minireranker, mini, whole lists | {ours:.0f} ms | |" in readme
    assert len(found["peers"]) == 4
    for peer in found["peers"]:
        a_pair = 1000 * statistics.median(peer["seconds_a_pair"])
        middle, low, high = (peer["scaled_ratio"][name] for name in ("median", "low", "high"))
        ratio = f"{middle:.1f} x ({low:.1f} to {high:.1f})"
        assert peer["agreement"]["agrees"]
        assert f"| {peer['name']} | {a_pair:,.0f} ms | {ratio} |" in readme


def test_the_sidecars_figures_are_the_measured_ones(readme: str) -> None:
    found = result("serving-builtin-cpu.json")
    capacity, overload = found["capacity"], found["overload"]
    assert found["settings"]["seconds"] >= 300
    assert found["exit_code"] == 0
    assert overload["outcomes"].keys() == {"answered", "QueueFullError"}
    waits = overload["latency_seconds"]["p99"], overload["p99_bound_seconds"]
    for figure in (
        f"{found['in_process_documents_per_second']:.0f} in-process",
        f"{capacity['documents_per_second']:.0f} through the server",
        f"{100 * found['share_of_in_process']:.0f} %",
        f"{waits[0]:.2f} s (bound: {waits[1]:.2f} s)",
        f"{100 * overload['resident_growth']:.1f} %",
    ):
        assert figure in re.sub(r"\s+", " ", readme)
