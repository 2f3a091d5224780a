"""How well systems rank, side by side: rerankers by profile, an embedder, a retriever's order.

Every figure is of the same queries and candidates. A document that fails is ranked last by the
system it failed in, a query that fails counts as zero; both are named. The systems are measured one
after the other, so that one model is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from minireranker.bench.machine import describe_machine
from minireranker.engine.progress import Progress
from minireranker.errors import ConfigurationError, InputError
from minireranker.relevance import Dataset

from .quality_figures import Figures, ceiling
from .quality_run import Outcome, measure
from .quality_systems import System, Wanted, systems

__all__ = ["NAMED", "QualityBench", "run"]

NAMED = 100
"""Failures that a row names; the others are counted."""


@dataclass(frozen=True, eq=False)
class QualityBench:
    """What to measure."""

    dataset: Dataset
    wanted: Wanted
    reference: str | None = None
    """The row that others are compared with; None: "dense", else the first profile there is."""
    figures: Figures = field(default_factory=Figures)


def run(
    bench: QualityBench, say: Callable[[str], None], progress: bool | None = None
) -> dict[str, Any]:
    """Measure every system. An interrupt ends it early, with what is finished in the result.

    Raises ConfigurationError, CheckpointError and CacheError before anything is measured where that
    can be told, MissingDependencyError without ir-measures, InputError where no query can be read.
    """
    rows = systems(bench.wanted, bench.dataset)
    reference = _reference(rows, bench.reference)
    best = ceiling(bench.dataset)  # which also tells whether ir-measures is there
    outcomes: dict[str, Outcome] = {}
    try:
        for number, system in enumerate(rows, 1):
            label = f"{system.name}, {number} of {len(rows)}"
            say(f"{label}: {bench.dataset.pairs} pairs")
            outcomes[system.name] = _measured(bench.dataset, system, label, progress)
            if outcomes[system.name].interrupted:
                break
    except KeyboardInterrupt:
        say("interrupted while a model was being loaded")
    return {
        "machine": describe_machine(),
        "workload": _workload(bench, best),
        "reference": reference,
        "interrupted": len(outcomes) < len(rows) or any(o.interrupted for o in outcomes.values()),
        "not_begun": [row.name for row in rows if row.name not in outcomes],
        "systems": {
            row.name: _row(bench, row, outcomes, reference) for row in rows if row.name in outcomes
        },
    }


def _measured(dataset: Dataset, system: System, label: str, progress: bool | None) -> Outcome:
    with (
        system.open(dataset) as scorer,
        Progress(label, dataset.pairs, progress) as bar,
    ):
        outcome = measure(dataset, scorer, bar.advance)
    if outcome.unreadable == set(dataset.queries):
        raise InputError(f"{system.name}: no query can be read; {next(iter(outcome.failed))}")
    return outcome


def _reference(rows: list[System], name: str | None) -> str | None:
    """The row others are compared with. Raises ConfigurationError for one that is not there."""
    names = [row.name for row in rows]
    if name is not None and name not in names:
        raise ConfigurationError(f"reference {name!r}: there are {', '.join(names)}; name one")
    profiles = [row.name for row in rows if row.profile is not None]
    first = "dense" if "dense" in profiles else next(iter(profiles), None)
    return first if name is None else name


def _workload(bench: QualityBench, best: float) -> dict[str, Any]:
    data, wanted, figures = bench.dataset, bench.wanted, bench.figures
    return {
        "dataset": data.name,
        "queries": len(data.queries),
        "documents": len({name for listed in data.candidates.values() for name in listed}),
        "pairs": data.pairs,
        "candidates": "a retriever's" if data.is_ranked else "no retriever's: judged, or all",
        "best_ndcg_at_10": best,
        "model": wanted.model,
        "embedder": wanted.embedder,
        "dtype": wanted.dtype,
        "device": wanted.device,
        "seed": figures.seed,
        "resamples": figures.resamples,
        "confidence": figures.confidence,
    }


def _row(
    bench: QualityBench, row: System, outcomes: dict[str, Outcome], reference: str | None
) -> dict[str, Any]:
    outcome = outcomes[row.name]
    against = outcomes.get(reference) if reference not in (None, row.name) else None
    failed = list(outcome.failed)
    return {
        **row.form(),
        "queries": len(outcome.finished),
        "seconds": outcome.seconds,
        **bench.figures.row(outcome, against),
        "failed_documents": len({f.document for f in failed if f.document is not None}),
        "failed_queries": len(outcome.unreadable),
        "failed": [{"what": f.what, "reason": f.reason} for f in failed[:NAMED]],
    }
