"""What a sample of the pairs must score, by the full-sequence model: what every timing hangs on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minireranker.bench.comparison import Say
from minireranker.errors import ConfigurationError

from .agreement import TOLERANCE, References, flat, largest_gap, score_spread
from .drawing import Material

if TYPE_CHECKING:
    import torch

    from minireranker import Reranker
    from minireranker.bench.oracle import FullSequenceModel

__all__ = ["Unit", "our_agreement", "read_references"]


@dataclass(frozen=True)
class Unit:
    """What is timed in turns: a query, and the first so many of its candidates."""

    query: int
    count: int


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
    spread = min(map(score_spread, rows))
    if not spread > 0:
        raise ConfigurationError(
            "all candidates of a query have the same score, so no error can be seen; use other "
            "weights or a profile with a band"
        )
    exact = flat(references.reduced)
    difference = largest_gap(flat(ours), exact) / spread
    error = largest_gap(flat(narrow), exact)
    return {
        "passed": difference <= TOLERANCE,
        "difference_of_spread": difference if math.isfinite(difference) else None,
        "tolerance": TOLERANCE,
        "spread": spread,
        "pairs": len(exact),
        "error_in_own_dtype": error if math.isfinite(error) else None,
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
