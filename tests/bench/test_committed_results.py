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
        f"| reading an image, once | {mini['index_seconds'] / dense['of_pairs']:.1f} s |",
        f"the scores' spread | {found['agreement']['float32_difference_of_spread']:.1e} |".replace(
            "e-0", "e-"
        ),
        f"decoded: of a pass of {mini['seconds']:.1f} s",
    ):
        assert row in readme


def test_the_cost_of_a_pair_grows_as_told(readme: str) -> None:
    axes = result("scaling-2b-cpu.json")["axes"]
    by_candidates, by_prefix = (
        {row[axis]: 1000 * row["seconds_a_pair"] for row in axes[axis]}
        for axis in ("candidates", "prefix")
    )
    many = [cost for candidates, cost in by_candidates.items() if candidates >= 100]
    told = f"({by_candidates[10]:.0f} ms, {min(many):.0f} to {max(many):.0f} from 100 on;"
    assert told in plain(readme)
    assert "1 300 tokens an eighth more than one of 64" in plain(readme)
    assert by_prefix[1300] / by_prefix[64] == pytest.approx(9 / 8, abs=0.02)


@pytest.mark.parametrize("name", ["coco-t2i", "msrvtt"])
def test_the_peers_figures_are_the_measured_ones(readme: str, name: str) -> None:
    found = result(f"latency-{name}-2b-cpu.json")
    whole, pair = (
        f"{1000 * found['turns'][key]:,.0f} ms"
        for key in ("whole_seconds_a_pair", "seconds_a_pair")
    )
    assert f"| minireranker, mini, whole lists | {whole} | | 1 |" in plain(readme)
    assert f"| minireranker, mini, the same pairs | {pair} | 1 | |" in plain(readme)
    assert len(found["peers"]) == 6
    for peer in found["peers"]:
        a_pair = f"{1000 * statistics.median(peer['seconds_a_pair']):,.0f} ms"
        ratios = written(peer["ratio"]), written(peer["scaled_ratio"])
        assert f"| {peer['name']} | {a_pair} | {' | '.join(ratios)} |" in plain(readme)
        agreement = peer["agreement"]
        told = f"{peer['peer']}'s scores are off by {agreement['difference']:.2f}"
        assert agreement["agrees"] or told in plain(readme)


def test_the_same_command_again_gives_the_ratios_that_are_told(readme: str) -> None:
    once, again = (result(f"latency-coco-t2i-2b-cpu{which}.json") for which in ("", "-again"))
    told = re.search(
        r"within (\d+) % of these over whole lists and within (\d+) % over the same pairs",
        plain(readme),
    )
    assert told is not None
    apart = [
        max(
            100 * abs(other[kind]["median"] / one[kind]["median"] - 1)
            for one, other in zip(once["peers"], again["peers"], strict=True)
        )
        for kind in ("scaled_ratio", "ratio")
    ]
    assert [f"{each:.0f}" for each in apart] == list(told.groups())
    assert max(apart) <= 10


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def written(ratio: dict[str, float]) -> str:
    middle, low, high = (
        f"{ratio[name]:,.{1 if ratio[name] < 100 else 0}f}" for name in ("median", "low", "high")
    )
    return f"{middle} x ({low} to {high})"


def test_the_sidecars_figures_are_the_measured_ones(readme: str) -> None:
    found = result("serving-builtin-cpu.json")
    capacity, overload = found["capacity"], found["overload"]
    assert found["settings"]["seconds"] >= 300
    assert found["exit_code"] == 0
    assert overload["outcomes"].keys() == {"answered", "QueueFullError"}
    waits = overload["latency_seconds"]["p99"], overload["p99_bound_seconds"]
    assert waits[0] <= waits[1]
    assert overload["resident_growth"] <= 0.05
    assert found["share_of_in_process"] >= 0.9
    for figure in (
        f"{found['in_process_documents_per_second']:.0f} in-process",
        f"{capacity['documents_per_second']:.0f} through the server",
        f"{100 * found['share_of_in_process']:.0f} %",
        f"{waits[0]:.2f} s (bound: {waits[1]:.2f} s)",
        f"{100 * overload['resident_growth']:.1f} %",
    ):
        assert figure in re.sub(r"\s+", " ", readme)
