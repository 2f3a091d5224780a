"""K and V of documents as a batch of pairs attends to them: as they are kept, or decoded once."""

from __future__ import annotations

from collections.abc import Sequence

from minireranker.cache import PrefixEntry
from minireranker.kernels.band_attention import Extent, reads_quantised


class Extents:
    """The documents of consecutive batches: none is decoded twice in a layer.

    Pairs of one document get the same Extent, in which a backend sees that they share it.
    """

    def __init__(self, backend: str) -> None:
        """``backend``: of the attention that reads them."""
        self._backend = backend
        self._carried: dict[int, tuple[PrefixEntry, Extent]] = {}
        """By layer, of the document that the next batch begins with."""

    def layer(self, at: int, documents: Sequence[PrefixEntry], *, continues: bool) -> list[Extent]:
        """One Extent a pair, in order, of band layer number ``at``.

        ``continues``: whether the next batch begins with the last document of this one; what has
        been decoded of it is kept until then.
        """
        found: dict[int, Extent] = {}
        if at in self._carried:
            document, extent = self._carried.pop(at)
            found[id(document)] = extent
        for document in documents:
            if id(document) not in found:
                found[id(document)] = self._extent(document, at)
        if continues:
            self._carried[at] = documents[-1], found[id(documents[-1])]
        return [found[id(document)] for document in documents]

    def _extent(self, document: PrefixEntry, at: int) -> Extent:
        kept = document.kept_layers
        if kept is not None and (len(kept[at]) == 2 or reads_quantised(self._backend)):
            return Extent(*kept[at])
        return Extent(*document.layer(at))
