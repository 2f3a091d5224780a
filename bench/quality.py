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
from minireranker.errors import ConfigurationError, InputError, MinirerankerError
from minireranker.relevance import Dataset

from .quality_figures import Figures, ceiling
from .quality_run import Outcome, measure
from .quality_systems import RETRIEVER, System, Wanted, systems

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

    Once a model has been measured, another one's error costs its own row alone: the result has it
    under ``errors``. Raises ConfigurationError, CheckpointError and CacheError before anything is
    measured where that can be told, MissingDependencyError without ir-measures, InputError where no
    query can be read.
    """
    rows = systems(bench.wanted, bench.dataset)
    reference = _reference(rows, bench.reference)
    best = ceiling(bench.dataset)  # which also tells whether ir-measures is there
    outcomes, errors = _outcomes(bench.dataset, rows, say, progress)
    done = outcomes.keys() | errors.keys()
    return {
        "machine": describe_machine(),
        "workload": _workload(bench, best),
        "reference": reference,
        "interrupted": len(done) < len(rows) or any(o.interrupted for o in outcomes.values()),
        "not_begun": [row.name for row in rows if row.name not in done],
        "errors": errors,
        "systems": {
            row.name: _row(bench, row, outcomes, reference) for row in rows if row.name in outcomes
        },
    }


def _outcomes(
    dataset: Dataset, rows: list[System], say: Callable[[str], None], progress: bool | None
) -> tuple[dict[str, Outcome], dict[str, str]]:
    """By name: what was measured, as far as it got; and why something could not be."""
    outcomes: dict[str, Outcome] = {}
    errors: dict[str, str] = {}
    try:
        for number, system in enumerate(rows, 1):
            label = f"{system.name}, {number} of {len(rows)}"
            say(f"{label}: {dataset.pairs} pairs")
            try:
                outcome = outcomes[system.name] = _measured(dataset, system, label, progress)
            except (MinirerankerError, RuntimeError, OSError) as error:
                # A RuntimeError is torch's: memory that is not enough for this row may be for all
                # others, and those before it may have taken hours.
                if not outcomes.keys() - {RETRIEVER}:
                    raise
                errors[system.name] = str(error)
                continue
            if outcome.interrupted:
                break
    except KeyboardInterrupt:
        say("interrupted while a model was being loaded")
    return outcomes, errors


def _measured(dataset: Dataset, system: System, label: str, progress: bool | None) -> Outcome:
    with (
        system.open(dataset) as scorer,
        Progress(label, dataset.pairs, progress) as bar,
    ):
        outcome = measure(dataset, scorer, bar.advance)
        outcome.place = scorer.place
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
        "candidates": "a retriever's" if data.is_ranked else "in no order: listed, judged, or all",
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
        "device": outcome.place.device,
        "dtype": outcome.place.dtype,
        "queries": len(outcome.finished),
        "seconds": outcome.seconds,
        **bench.figures.row(outcome, against),
        "failed_documents": len({f.document for f in failed if f.document is not None}),
        "failed_queries": len(outcome.unreadable),
        "failed": [{"what": f.what, "reason": f.reason} for f in failed[:NAMED]],
    }
