"""How much of a workload is measured where the model is large and the machine is not.

A pure function of the model's size, the workload and the device: the same command measures the same
on every run. Everything it takes away is said in the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from .geometry import Geometry
from .workload import LatencyWorkload

__all__ = ["Asked", "Plan", "make_plan"]

_CPU_RATE, _GPU_RATE = 2e11, 2e14
"""FLOP/s assumed: of a CPU thread with bfloat16 products, of a GPU."""
_CPU_TOKEN, _GPU_TOKEN = 3e-4, 1e-4
"""Seconds assumed a visual token beside its products: decoding, patches, many small steps."""
_READING_SECONDS = 120.0
"""Of all that is read, at that rate: less is where it would take longer."""
_ASKED_AGAIN = 3
"""Times that a query which is an image is read: nothing of it is kept from call to call."""
_SHARES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
_TEXT_TOKENS = 90
"""Of a pair, about: header, words and answer cue."""
_DEPTHS = ((0.2, (4, 3, 7, 3)), (0.5, (4, 3, 3, 3)), (10.0, (2, 1, 3, 2)), (30.0, (2, 1, 2, 1)))
"""Seconds of a whole pair up to which the sample, units, rounds of turns and repeats are these."""
_LEAST = (2, 1, 1, 1)


@dataclass(frozen=True)
class Asked:
    """What the caller wants; None: the plan decides."""

    queries: int | None = None
    documents: int | None = None
    candidates: int | None = None
    scale: float | None = None
    """Share of documents, candidates and queries."""
    sample: int | None = None
    """Candidates of a query that peers score, and that are compared."""
    units: int | None = None
    """Queries that peers score."""
    rounds: int | None = None
    """Of turns with peers."""
    repeats: int | None = None
    """Of every query in every mode."""


@dataclass(frozen=True)
class Plan:
    """What is measured. ``said``: every reduction, and the sampling, as sentences."""

    load: LatencyWorkload
    sample: int
    units: int
    rounds: int
    repeats: int
    said: tuple[str, ...]


def make_plan(
    load: LatencyWorkload,
    model: Geometry,
    asked: Asked,
    *,
    threads: int,
    gpu: bool,
    cold_modes: int = 0,
) -> Plan:
    """Fit a workload to a model and a machine. Raises ConfigurationError for counts too low.

    ``cold_modes``: how often it is driven from an empty cache; 0: documents are read once, ahead.
    """
    rate, token = (_GPU_RATE, _GPU_TOKEN) if gpu else (_CPU_RATE * threads, _CPU_TOKEN)
    tokens = load.visual_tokens
    seconds = model.pair_flop(tokens, _TEXT_TOKENS) / rate + token * tokens
    depths = next((depth for limit, depth in _DEPTHS if seconds <= limit), _LEAST)
    rounds, repeats = asked.rounds or depths[2], asked.repeats or depths[3]
    share, said = asked.scale, list[str]()
    if share is None and (asked.documents is not None or asked.candidates is not None):
        share = 1.0
    elif share is None:
        cold = cold_modes, repeats, rounds * (asked.units or depths[1])
        most = _READING_SECONDS / seconds
        fitting = [each for each in _SHARES if _read(load.scaled(each)[0], *cold) <= most]
        share = max(fitting, default=_SHARES[-1])
    fitted, reductions = load.scaled(share)
    if reductions:
        why = "as asked" if asked.scale is not None else "so that reading takes minutes here"
        said.append(f"scaled to {share:g} ({why}): {', '.join(reductions)}")
    fitted, reductions = fitted.lowered(
        queries=asked.queries, documents=asked.documents, candidates=asked.candidates
    )
    said += [f"as asked: {each}" for each in reductions]
    sample = min(asked.sample or depths[0], fitted.listed)
    units = min(asked.units or depths[1], fitted.queries)
    said.append(
        f"scores are compared, and peers timed, on a sample: {units * sample} of {fitted.pairs} "
        f"pairs ({sample} candidates of {units} of {fitted.queries} queries); a ratio over whole "
        "lists is of seconds a pair, scaled"
    )
    return Plan(fitted, sample, units, rounds, repeats, tuple(said))


def _read(load: LatencyWorkload, cold_modes: int, repeats: int, turns: int) -> int:
    """How many times a picture is read, of a document or of a query."""
    if load.query == "image":
        return _ASKED_AGAIN * load.queries
    if not cold_modes:
        return load.documents
    if load.stream:
        return cold_modes * load.documents
    return load.listed * (cold_modes * repeats * load.queries + turns)
