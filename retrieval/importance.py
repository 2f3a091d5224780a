"""What visual tokens are worth: from an encoder's pass over documents to a reranker's grids."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from minireranker.configs import Limits
from minireranker.engine.content import Document
from minireranker.engine.reading import read_content
from minireranker.engine.reranker import Reranker
from minireranker.engine.resampling import resampled
from minireranker.errors import MinirerankerError

from .late_interaction import LateInteraction
from .named_document import NamedDocument

_NOT_OF_GRIDS = ("max_tokens", "max_suffix_tokens")


class Importances:
    """Those of one encoder, for one reranker or none."""

    def __init__(self, encoder: LateInteraction, reranker: Reranker | None) -> None:
        """Nothing is loaded."""
        self.are_wanted = reranker is not None and reranker.profile.keep_ratio < 1.0
        """Whether the encoder is to be asked for them."""
        self._limits = None if reranker is None else reranker.profile.limits
        embedder = getattr(encoder, "embedder", None)
        self._same_grids = (
            embedder is not None
            and self._limits is not None
            and _of_grids(embedder.limits) == _of_grids(self._limits)
        )

    def given_to(self, item: NamedDocument, worth: Sequence[Any]) -> Document | None:
        """The document with ``worth``, one array a visual, where it has none of its own.

        On the reranker's grids: where it reads at other sizes than the encoder, importances are
        resampled. None, with the item's error, for a document that cannot be read at those sizes.
        """
        document = item.document
        given = document.content.importances
        if not worth or (given and all(each is not None for each in given)):
            return document
        try:
            fitted = list(worth) if self._same_grids else self._fitted(document, worth)
        except MinirerankerError as error:
            item.error = error
            return None
        if len(given) == len(fitted):
            fitted = [b if a is None else a for a, b in zip(given, fitted, strict=True)]
        elif given:
            return document  # what is wrong with it is said where it is checked
        return dataclasses.replace(document, importances=fitted)

    def _fitted(self, document: Document, worth: Sequence[Any]) -> list[Any]:
        assert self._limits is not None, "there is a reranker"
        visuals = read_content(document.content, self._limits).visuals
        return [resampled(w, visual.token_grid) for w, visual in zip(worth, visuals, strict=True)]


def _of_grids(limits: Limits) -> dict[str, Any]:
    fields = dataclasses.asdict(limits)
    return {name: value for name, value in fields.items() if name not in _NOT_OF_GRIDS}
