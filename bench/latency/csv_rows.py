"""A result as comma-separated rows: one a run, one a peer, for spreadsheets."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["csv_text"]

_COLUMNS = (
    *("what", "name", "mode", "cache", "workload", "model", "dtype", "device", "samples"),
    *("p50", "p90", "p95", "p99", "mean", "pairs_per_second", "queries_per_second"),
    *("cache_hit_rate", "peak_memory", "gpu_peak_memory", "flop_per_second", "bytes_per_second"),
    *("seconds_a_pair", "ratio", "ratio_low", "ratio_high", "scaled_ratio", "scaled_ratio_low"),
    *("scaled_ratio_high", "status", "agrees", "difference", "tolerance", "joules"),
)


def csv_text(result: Mapping[str, Any]) -> str:
    """With a header; seconds, bytes and joules, empty where there is no figure."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    common = {
        "workload": result["workload"]["name"],
        "model": (result["model"] or {}).get("name"),
        "dtype": result["device"]["dtype"],
        "device": result["device"]["kind"],
    }
    for row in (*_runs(result), *_peers(result)):
        writer.writerow(common | row)
    return out.getvalue()


def _runs(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    same = ("mode", "cache", "p50", "p90", "p95", "p99", "mean", "pairs_per_second")
    for target in result["targets"]:
        for run in target["runs"]:
            reached = run.get("reached") or {}
            yield {
                "what": "run",
                "name": target["name"],
                **{name: run[name] for name in (*same, "queries_per_second", "cache_hit_rate")},
                "samples": len(run["latencies"]),
                "peak_memory": run["memory"]["peak"],
                "gpu_peak_memory": run["memory"]["gpu_peak"],
                "flop_per_second": reached.get("flop_per_second"),
                "bytes_per_second": reached.get("bytes_per_second"),
                "seconds_a_pair": run["seconds"] / run["pairs"],
                "status": "finished" if run["finished"] else "interrupted",
                "joules": run["energy"]["joules"],
            }


def _peers(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in result["peers"]:
        agreement = row["agreement"] or {}
        yield {
            "what": "peer",
            "name": row["name"],
            "samples": len(row["seconds_a_pair"]),
            "seconds_a_pair": statistics.median(row["seconds_a_pair"] or [0.0]) or None,
            **_spread("ratio", row["ratio"]),
            **_spread("scaled_ratio", row["scaled_ratio"]),
            "peak_memory": row["peak_memory"],
            "status": row["status"],
            **{name: agreement.get(name) for name in ("agrees", "difference", "tolerance")},
        }


def _spread(name: str, found: Mapping[str, float] | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {name: found["median"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
