"""Pairs without documents: entries of random numbers, and queries of a given length.

What a pass costs depends on shapes alone. Everything from the entries on is the engine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .latency.memory import available_memory

if TYPE_CHECKING:
    from torch import Tensor

    from minireranker import Reranker
    from minireranker.cache import PrefixEntry
    from minireranker.engine.draft import Segment
    from minireranker.engine.packing import Packer
    from minireranker.engine.prefix import Header
    from minireranker.engine.scoring import Pair

__all__ = ["Point", "Workload"]

_ENTRY_BYTES = 2**33
"""Of entries, at most, and half of what memory there is: fewer candidates where those are long."""


@dataclass(frozen=True)
class Point:
    """One workload: every query against every candidate."""

    candidates: int = 100
    suffix: int = 40
    """Tokens of a query's segment; those of the template are the least there can be."""
    prefix: int = 160
    """Tokens of a document's entry."""
    queries: int = 1


class Workload:
    """The pairs of a point for one reranker; call it to score them, entries being there."""

    def __init__(
        self,
        reranker: Reranker,
        point: Point,
        seed: int,
        entries: Sequence[PrefixEntry] | None = None,
    ) -> None:
        """The same ``seed`` gives the same numbers to every reranker of the same size.

        ``entries``: another workload's, of the same prefix, of which the first are taken.
        """
        from minireranker.engine.work import Meter

        self.reranker, self._state, self._meter = reranker, reranker.state, Meter()
        self._packer = self._state.packer(self._meter)
        opening = self._state.prompt.header(self._state.profile.template.instruction, False)
        self._header = self._state.header(opening, self._packer)
        if entries is None:
            entries = _entries(reranker, point, seed)
        self.entries = list(entries[: point.candidates])
        self.queries = [_query(reranker, point.suffix, at) for at in range(point.queries)]

    @property
    def pairs(self) -> int:
        """How many."""
        return len(self.entries) * len(self.queries)

    def __call__(self) -> Tensor:
        """Float32 [pairs]: queries' states below the band, then all pairs."""
        import torch

        from minireranker.engine.scoring import score_pairs

        state = self._state
        with torch.inference_mode():
            return score_pairs(
                state.model,
                self._header,
                _pairs(self.reranker, self._packer, self._header, self.queries, self.entries),
                state.band,
                batch_tokens=state.batch_tokens,
                backend=state.backend,
                meter=self._meter,
                step=_ignore,
            )


def _ignore(done: int) -> None:
    """Nobody watches a timed pass."""


def _entries(reranker: Reranker, point: Point, seed: int) -> list[PrefixEntry]:
    """Random K and V: as many different documents as there is room for."""
    import torch

    from minireranker.cache import PrefixEntry

    state = reranker.state
    text, like = state.model.config.text, state.model.decoder.norm.weight
    shape = (
        len(state.band.prefix_layers),
        point.prefix,
        text.num_key_value_heads,
        text.head_dim,
    )
    random = torch.Generator().manual_seed(seed)
    bytes_each = 2 * like.itemsize * torch.Size(shape).numel()
    free = available_memory(like.device.type)
    room = _ENTRY_BYTES if free is None else min(_ENTRY_BYTES, free // 2)
    count = min(point.candidates, max(2, room // max(bytes_each, 1)))

    def numbers() -> torch.Tensor:
        return torch.randn(shape, generator=random).to(like.device, like.dtype)

    return [
        PrefixEntry.encoded("exact", numbers(), numbers(), span=point.prefix, tokens=point.prefix)
        for _ in range(count)
    ]


def _query(reranker: Reranker, tokens: int, number: int) -> Segment:
    """A segment of so many tokens, or of those that the template has."""
    from minireranker.engine.prompt import Side

    prompt = reranker.state.prompt

    def segment(words: int) -> Segment:
        text = " ".join([str(number), *["a"] * words])
        return prompt.second(Side((text,), (), ()), is_query=True)

    missing = tokens - len(segment(0))
    return segment(max(0, missing))


def _pairs(
    reranker: Reranker,
    packer: Packer,
    header: Header,
    asked: Sequence[Segment],
    entries: Sequence[PrefixEntry],
) -> list[Pair]:
    from minireranker.engine.scoring import Pair
    from minireranker.engine.suffix import read_suffixes

    state = reranker.state
    start = header.span + entries[0].span
    suffixes = read_suffixes(
        packer, header, asked, [start] * len(asked), state.band.meeting_layer, state.backend
    )
    return [Pair(entry, suffix) for entry in entries for suffix in suffixes]
