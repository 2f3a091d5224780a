"""Pairs through the band to the exit: the only work that is paid once a (query, document) pair.

Method, section 4. A batch packs the second segments of its pairs, ragged, each beside its own
first segment's K/V. In the first layer projections are taken once a second segment, not once a
pair; in the last, only the last token's query, attention and MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minireranker.cache import PrefixEntry, SuffixEntry
from minireranker.cache.placement import ready
from minireranker.models.qwen3_vl import Qwen3VL

from .ascent import Ascent, Batch
from .attending import attend_at_once, attend_singly, stacks_of
from .extents import Extents
from .graphs import Graphs
from .passes import passes
from .prefix import Band, Header
from .work import Meter


@dataclass(frozen=True, eq=False)
class Pair:
    """A first segment's entry and a second segment's state; both may serve many pairs."""

    prefix: PrefixEntry
    suffix: SuffixEntry

    @property
    def tokens(self) -> int:
        """Rows the pair takes in a batch."""
        return self.suffix.x.shape[0]


def score_pairs(
    model: Qwen3VL,
    header: Header,
    pairs: Sequence[Pair],
    band: Band,
    *,
    batch_tokens: int,
    backend: str,
    meter: Meter,
    step: Callable[[int], None],
    graphs: Graphs | None = None,
) -> Tensor:
    """Raw logit differences, float32 [pairs], on the CPU.

    Give pairs of one document next to each other: it is read once for all of them.
    ``batch_tokens`` bounds the rows of a batch (one pair may exceed it alone); no score depends on
    it. On a GPU the host waits once, for the last batch, and each batch only for its own entries
    to arrive. ``step`` is told the number of pairs of each batch queued. ``graphs``: recorded
    passes, for batches that fit one.
    """
    scores = []
    extents = Extents(backend)
    batches = passes(pairs, lambda pair: pair.tokens, batch_tokens)
    for batch, following in zip(batches, [*batches[1:], []], strict=True):
        continues = bool(following) and following[0].prefix is batch[-1].prefix
        packed = _packed(batch, model.device)
        meter.count(pair_token_layers=packed.cu[-1] * (band.exit_layer - band.meeting_layer))
        found = graphs.scores(header, packed) if graphs is not None else None
        if found is None:
            found = _scores(model, header, packed, band, backend, extents, continues=continues)
        scores.append(found)
        step(len(batch))
    return torch.cat(scores).cpu() if scores else torch.empty(0)


def _packed(pairs: Sequence[Pair], device: torch.device) -> Batch:
    """Their documents on the device, or under way there."""
    distinct = {id(pair.prefix): pair.prefix for pair in pairs}
    arrived = {name: ready(entry, device) for name, entry in distinct.items()}
    documents = [arrived[id(pair.prefix)] for pair in pairs]
    return Batch.of(documents, [pair.suffix for pair in pairs])


def _scores(
    model: Qwen3VL,
    header: Header,
    batch: Batch,
    band: Band,
    backend: str,
    extents: Extents,
    *,
    continues: bool,
) -> Tensor:
    """Float32 [pairs], by an ordinary pass."""
    ascent = Ascent.of(batch, model)
    stacks = stacks_of(batch.documents, model.dtype) if backend == "triton" else None
    if stacks is None:
        attend = attend_singly(batch, header, band, backend, extents, continues=continues)
    else:
        attend = attend_at_once(batch, stacks, header, band, model, rows=len(ascent.rows))
    return ascent.scores(model, band, attend)
