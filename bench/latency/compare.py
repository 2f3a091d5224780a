"""Two results beside each other: ratios of medians with bootstrap intervals, and what is slower."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .statistics import RatioInterval, ratio_interval

__all__ = ["Compared", "compare", "differences"]

_SAME = (
    *("queries", "candidates", "documents", "query", "document", "visual_tokens", "frames"),
    *("query_words", "document_words", "seed"),
)
_MODEL = {
    **{name: name for name in ("profile", "precision", "importances")},
    "model": "name",
    "exit layer": "exit_layer",
    "kept share": "keep_ratio",
}
_VERSIONS = ("torch", "transformers", "minireranker", "revision")


@dataclass(frozen=True)
class Compared:
    """One figure that both results have, of the second over the first."""

    name: str
    base: float
    """Median seconds in the first."""
    other: float
    interval: RatioInterval
    is_ours: bool = True
    """Not of a peer, which shows what the machine did."""

    def is_slower(self, percent: float) -> bool:
        """Whether all of the interval lies more than ``percent`` above equal."""
        return self.interval.low > 1 + percent / 100


def compare(base: Mapping[str, Any], other: Mapping[str, Any], seed: int = 0) -> list[Compared]:
    """Everything that both have samples of, in the order of the first."""
    one, two = (dict(_samples(result)) for result in (base, other))
    peers = {row["name"] for row in base["peers"]}
    return [
        Compared(
            name,
            statistics.median(samples),
            statistics.median(two[name]),
            ratio_interval(samples, two[name], seed=seed),
            is_ours=name not in peers,
        )
        for name, samples in one.items()
        if name in two
    ]


def differences(base: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Why the ratios may say nothing: what was not the same, a sentence each."""
    said = []
    pairs = {
        "workload": (base["workload"]["name"], other["workload"]["name"]),
        **{name: (base["workload"][name], other["workload"][name]) for name in _SAME},
        **{
            name: tuple((each["model"] or {}).get(field) for each in (base, other))
            for name, field in _MODEL.items()
        },
        "sample": (base["settings"]["sample"], other["settings"]["sample"]),
        "dtype": (base["device"]["dtype"], other["device"]["dtype"]),
        "cpu": (base["machine"]["cpu"], other["machine"]["cpu"]),
        "gpu": (base["machine"]["gpu"], other["machine"]["gpu"]),
        "threads": (base["device"]["threads"], other["device"]["threads"]),
        **{name: (base["machine"].get(name), other["machine"].get(name)) for name in _VERSIONS},
        **_peer_versions(base, other),
    }
    for name, (one, two) in pairs.items():
        if one != two:
            said.append(f"{name} differs: {one} and {two}")
    for which, result in (("first", base), ("second", other)):
        if not result["finished"]:
            said.append(f"the {which} result is of an interrupted run")
    return said + _alone(base, other)


def _alone(base: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Figures that one of them has alone."""
    one, two = ([name for name, _ in _samples(result)] for result in (base, other))
    alone = {
        "first": [name for name in one if name not in two],
        "second": [name for name in two if name not in one],
    }
    return [f"only the {which} has {'; '.join(names)}" for which, names in alone.items() if names]


def _peer_versions(
    base: Mapping[str, Any], other: Mapping[str, Any]
) -> dict[str, tuple[object, object]]:
    """Of the peers that both have timed."""
    one, two = (
        {row["peer"]: _written(row["versions"]) for row in each["peers"] if row["seconds_a_pair"]}
        for each in (base, other)
    )
    return {f"peer {name}": (one[name], two[name]) for name in one if name in two}


def _written(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _samples(result: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[float]]]:
    """By name: latencies of runs, ours in the turns, and peers."""
    for target in result["targets"]:
        for run in target["runs"]:
            # The rate itself is measured where nobody gave one, and so is no name.
            mode = "open loop" if run["mode"] == "open" else run["label"]
            yield f"{target['name']}: {mode}, {run['cache']}", run["latencies"]
        if target["index"] is not None:
            yield f"{target['name']}: reading a document", [target["index"]["seconds_a_document"]]
    if result["turns"] is not None:
        yield "ours in turns, same pairs", result["turns"]["seconds"]
        yield "ours in turns, whole list", result["turns"]["whole_seconds"]
    for row in result["peers"]:
        if row["seconds_a_pair"]:
            yield row["name"], row["seconds_a_pair"]
