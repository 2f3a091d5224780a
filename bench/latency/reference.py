"""What a sample of the pairs must score, by the full-sequence model: what every timing hangs on.

Ours has to agree in float32 with the full sequence under the method's masks, within 1e-4 of the
scores' spread. A peer has to agree with the unmodified model in the order it writes pairs in: its
error against float32 may be twice the unmodified model's own in the dtype that both compute in,
plus one rounding; in float32 itself, where that error is nothing, 1e-4 of the spread.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from minireranker.bench.comparison import Say
from minireranker.engine.results import probability
from minireranker.errors import ConfigurationError

from .drawing import Material

if TYPE_CHECKING:
    import torch

    from minireranker import Reranker
    from minireranker.bench.oracle import FullSequenceModel

__all__ = ["TOLERANCE", "References", "Unit", "our_agreement", "read_references"]

TOLERANCE = 1e-4
"""Of the spread of a query's scores: the largest difference to the full sequence in float32."""


@dataclass(frozen=True)
class Unit:
    """What is timed in turns: a query, and the first so many of its candidates."""

    query: int
    count: int


@dataclass
class References:
    """Scores of all units, one list a unit, by the full-sequence model."""

    reduced: list[list[float]]
    """Under our profile's masks, in float32."""
    exact: dict[str, list[list[float]]] = field(default_factory=dict)
    """Of the unmodified model in float32, by the profile whose order and template it has."""
    own: dict[str, list[list[float]]] = field(default_factory=dict)
    """The same in the dtype that is measured."""
    rounding: float = 0.0
    """Relative: of that dtype."""

    def agreement(
        self, profile: str, found: Sequence[Sequence[float]], kind: str = "logit"
    ) -> dict[str, Any]:
        """How far a peer's scores of the first units are from the unmodified model's.

        ``kind``: logit, or probability, the sigmoid of that; all figures are of the kind. Returns
        ``difference``, ``tolerance``, ``agrees``, the unmodified model's own ``reference_error``.
        """
        exact, own = (_flat(rows[profile][: len(found)]) for rows in (self.exact, self.own))
        return self._held(exact, own, _flat(found), kind)

    def target_agreement(
        self, own: Sequence[Sequence[float]], found: Sequence[Sequence[float]]
    ) -> dict[str, Any]:
        """The same of a target elsewhere, whose scores have to be ours: ``own``, in its dtype."""
        return self._held(_flat(self.reduced), _flat(own), _flat(found), "logit")

    def _held(
        self, exact: list[float], own: list[float], found: list[float], kind: str
    ) -> dict[str, Any]:
        rounding = self.rounding * max(map(abs, exact))
        if kind == "probability":
            exact, own = ([probability(score) for score in scores] for scores in (exact, own))
            rounding = self.rounding
        error = _largest(own, exact)
        tolerance = max(2 * error + rounding, TOLERANCE * _spread(exact))
        difference = _largest(found, exact)
        return {
            "difference": difference if math.isfinite(difference) else None,
            "tolerance": tolerance,
            "agrees": difference <= tolerance,
            "reference_error": error,
            "pairs": len(exact),
        }


def read_references(
    reranker: Reranker, material: Material, units: Sequence[Unit], profiles: Sequence[str], say: Say
) -> References:
    """Compute them. One whole model is in memory at a time, beside the reranker.

    ``profiles``: dense ones, whose order and template a peer has.
    """
    import torch

    dtype = reranker.state.model.dtype
    pairs = sum(unit.count for unit in units)
    views = {name: _unreduced(reranker, name) for name in profiles}
    say(f"gate: scoring {pairs} pairs as full sequences in float32")
    whole = _loaded(reranker, torch.float32)
    found = References(
        [whole.scores(reranker, *_pairs(material, unit)) for unit in units],
        rounding=float(torch.finfo(dtype).eps),
    )
    for name, view in views.items():
        say(f"gate: {pairs} pairs by the unmodified model in float32, {name}")
        found.exact[name] = _published(whole, view, material, units)
    found.own = dict(found.exact)
    if dtype != torch.float32 and views:
        del whole
        narrow = _loaded(reranker, dtype)
        for name, view in views.items():
            say(f"gate: the same in {str(dtype).removeprefix('torch.')}, {name}")
            found.own[name] = _published(narrow, view, material, units)
    return found


def our_agreement(
    reranker: Reranker, material: Material, units: Sequence[Unit], references: References, say: Say
) -> dict[str, Any]:
    """The engine in float32 beside the full sequence; ``passed`` says whether that is equal enough.

    The spread is that of all candidates' scores of the units' queries. Raises ConfigurationError
    where all of them are equal, for then no error can be seen.
    """
    from minireranker import Reranker

    say("gate: the same pairs by the engine in float32")
    wide = Reranker.from_pretrained(
        reranker.checkpoint,
        profile=reranker.profile,
        embedder=reranker.embedder,
        dtype="float32",
        device=reranker.state.model.device,
    )
    ours = [wide.score([query], items)[0] for query, items in _asked(material, units)]
    wide.cache.close()
    rows = [_scores(reranker, material, unit.query) for unit in units]
    narrow = [row[: unit.count] for row, unit in zip(rows, units, strict=True)]
    spread = min(map(_spread, rows))
    if not spread > 0:
        raise ConfigurationError(
            "all candidates of a query have the same score, so no error can be seen; use other "
            "weights or a profile with a band"
        )
    exact = _flat(references.reduced)
    difference = _largest(_flat(ours), exact) / spread
    return {
        "passed": difference <= TOLERANCE,
        "difference_of_spread": difference if math.isfinite(difference) else None,
        "tolerance": TOLERANCE,
        "spread": spread,
        "pairs": len(exact),
        "error_in_own_dtype": _largest(_flat(narrow), exact),
    }


def _unreduced(reranker: Reranker, profile: str) -> Reranker:
    """The same checkpoint, its pairs written as a dense profile writes them; nothing is loaded."""
    from minireranker import Reranker
    from minireranker.configs import resolve_profile
    from minireranker.engine.prompt import Prompt

    state = reranker.state
    text = state.model.config.text
    dense = resolve_profile(
        profile,
        layers=text.num_hidden_layers,
        hidden_size=text.hidden_size,
        checkpoint=reranker.checkpoint,
    )
    prompt = Prompt(state.prompt.tokenizer, dense.template, dense.limits)
    view = dataclasses.replace(state, profile=dense, prompt=prompt)
    return Reranker(view, str(reranker.checkpoint))


def _loaded(reranker: Reranker, dtype: torch.dtype) -> FullSequenceModel:
    from minireranker.bench.oracle import FullSequenceModel

    device = str(reranker.state.model.device)
    return FullSequenceModel(reranker.checkpoint, dtype=dtype, device=device)


def _scores(reranker: Reranker, material: Material, query: int) -> list[float]:
    """Of all candidates of a query, as measured."""
    documents = [item.document() for item in material.listed(query)]
    found = reranker.score([material.queries[query].query()], documents)
    return [float(score) for score in found[0]]


def _pairs(material: Material, unit: Unit) -> tuple[Any, list[Any]]:
    items = material.listed(unit.query, unit.count)
    return material.queries[unit.query].query(), [item.document() for item in items]


def _asked(material: Material, units: Sequence[Unit]) -> list[tuple[Any, list[Any]]]:
    return [_pairs(material, unit) for unit in units]


def _published(
    model: FullSequenceModel, view: Reranker, material: Material, units: Sequence[Unit]
) -> list[list[float]]:
    return [
        [model.published_score(view, query, document) for document in documents]
        for query, documents in _asked(material, units)
    ]


def _flat(rows: Sequence[Sequence[float]]) -> list[float]:
    return [float(score) for row in rows for score in row]


def _largest(found: Sequence[float], exact: Sequence[float]) -> float:
    """Not a number where one of them is none: that agrees with nothing."""
    gaps = [abs(a - b) for a, b in zip(found, exact, strict=True)]
    return max(gaps) if all(gap == gap for gap in gaps) else float("nan")


def _spread(scores: Sequence[float]) -> float:
    return statistics.pstdev(scores)
