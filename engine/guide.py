"""Which visual tokens are kept: by the importances that came along, or by an embedder's attention.

Method, section 3. An embedder reads the whole of a query or document, as for its vector, so that
one pass over a corpus gives both.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from minireranker.cache import Cache, ChoiceEntry, Namespace
from minireranker.configs import Profile
from minireranker.errors import MinirerankerError

from .content import Content
from .embedder import Embedder
from .pixels import Visual
from .prompt import Side
from .pruning import kept_tokens
from .reading import Reading, read_content
from .resampling import resampled
from .work import Meter

_LOG = logging.getLogger(__name__)

_GRID_LIMITS = (
    *("min_pixels", "max_pixels", "max_aspect_ratio", "video_fps", "frame_list_fps"),
    *("video_min_frames", "video_max_frames", "frame_min_pixels", "frame_max_pixels"),
    "video_total_pixels",
)
"""Limits that decide on a visual's grid."""

_Outcome: TypeAlias = "list[NDArray[np.int64]] | MinirerankerError"
"""Ascending indices of the tokens kept of each visual, or why there are none."""


class Guide:
    """Prunes what a call reads, with one embedder or none, counting with one meter."""

    def __init__(
        self,
        embedder: Embedder | None,
        profile: Profile,
        meter: Meter,
        kept: tuple[Cache, Namespace],
    ) -> None:
        """``kept``: where an embedder's choices are remembered."""
        self._embedder, self._keep_ratio, self._meter = embedder, profile.keep_ratio, meter
        self._cache, self._namespace = kept
        self._same_grids = embedder is not None and all(
            getattr(embedder.limits, name) == getattr(profile.limits, name) for name in _GRID_LIMITS
        )

    def side(self, content: Content, reading: Reading) -> Side:
        """``reading`` of ``content``, pruned. Raises ImportanceError, and as the embedder does."""
        (side,) = self.sides([(content, reading)])
        if isinstance(side, MinirerankerError):
            raise side
        return side

    def sides(self, items: Sequence[tuple[Content, Reading]]) -> list[Side | MinirerankerError]:
        """Several at once, the embedder's part in packed passes; errors in place of what failed."""
        asked = [at for at, item in enumerate(items) if self.asks(*item)]
        chosen = dict(zip(asked, self._choices([items[at] for at in asked]), strict=True))
        out: list[Side | MinirerankerError] = []
        for at, (content, reading) in enumerate(items):
            try:
                out.append(self._side(content, reading, chosen.get(at)))
            except MinirerankerError as error:
                out.append(error)
        return out

    def asks(self, content: Content, reading: Reading) -> bool:
        """Whether the embedder is to be asked: about visuals without importances of their own."""
        if self._keep_ratio == 1.0 or self._embedder is None or not reading.visuals:
            return False
        given = content.importances
        return not given or any(item is None for item in given)

    def _side(self, content: Content, reading: Reading, chosen: _Outcome | None) -> Side:
        given = list(content.importances) or [None] * len(reading.visuals)
        if chosen is None or len(given) != len(reading.visuals):
            return reading.pruned(content.importances, self._keep_ratio)
        if isinstance(chosen, MinirerankerError):
            raise chosen
        kept = tuple(
            choice if item is None else kept_tokens([visual], [item], self._keep_ratio)[0]
            for visual, item, choice in zip(reading.visuals, given, chosen, strict=True)
        )
        guided = tuple(item is None for item in given)
        return Side(reading.texts, reading.visuals, kept, guided)

    def _choices(self, items: Sequence[tuple[Content, Reading]]) -> list[_Outcome]:
        """The embedder's choice of each: one made before, or made now, once for equal ones."""
        keys = [
            self._namespace.key({"kind": ChoiceEntry.__name__, "content": reading.digest()})
            for _, reading in items
        ]
        known: dict[str, _Outcome] = {}
        missing: dict[str, tuple[Content, Reading]] = {}
        for key, item in zip(keys, items, strict=True):
            if key in known or key in missing:
                continue
            entry = self._cache.get(key, ChoiceEntry)
            if entry is None:
                missing[key] = item
            else:
                known[key] = [kept.numpy().astype(np.int64) for kept in entry.indices]
        for key, made in zip(missing, self._made(list(missing.values())), strict=True):
            known[key] = made
            if not isinstance(made, MinirerankerError):
                indices = tuple(torch.from_numpy(kept.astype(np.int32)) for kept in made)
                self._cache.put(key, ChoiceEntry(indices), durable=True)
        return [known[key] for key in keys]

    def _made(self, items: Sequence[tuple[Content, Reading]]) -> list[_Outcome]:
        """Choices by the embedder's attention, on the reranker's grids."""
        out: list[_Outcome] = []
        for (_, reading), worth in zip(items, self._attention(items), strict=True):
            if isinstance(worth, MinirerankerError):
                out.append(worth)
                continue
            pairs = zip(worth, reading.visuals, strict=True)
            fitted = [self._fitted(theirs, visual) for theirs, visual in pairs]
            out.append(list(kept_tokens(reading.visuals, fitted, self._keep_ratio)))
        return out

    def _attention(
        self, items: Sequence[tuple[Content, Reading]]
    ) -> list[tuple[Any, ...] | MinirerankerError]:
        """Importances on the embedder's own grids, one array a visual."""
        if not items:
            return []
        assert self._embedder is not None, "it was asked for"
        inner = Meter()
        with self._meter.stage("embedder"):
            readings = [self._reading(content, reading) for content, reading in items]
            sound = [item for item in readings if isinstance(item, Reading)]
            found = iter(self._embedder.importances(sound, inner))
        self._meter.count(embedder_token_layers=inner.work.embedder_token_layers)
        return [next(found) if isinstance(item, Reading) else item for item in readings]

    def _reading(self, content: Content, reading: Reading) -> Reading | MinirerankerError:
        """At the embedder's sizes; decoded again where they differ."""
        assert self._embedder is not None, "it was asked for"
        if self._same_grids:
            return reading
        try:
            return read_content(content, self._embedder.limits)
        except MinirerankerError as error:
            return error

    def _fitted(self, worth: Any, visual: Visual) -> Any:
        grid = visual.token_grid
        if worth.shape == grid:
            return worth
        _say_once()
        self._meter.count(importances_resampled=1)
        return resampled(worth, grid)


@lru_cache(maxsize=1)
def _say_once() -> None:
    _LOG.info(
        "the embedder reads images at another size than the reranker: importances are resampled; "
        "give both the same limits to avoid it"
    )
