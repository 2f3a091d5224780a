"""A document that is known to be unreadable, so that its call names it and ranks the others."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from minireranker.engine.content import Document
from minireranker.errors import InputError

__all__ = ["Unreadable", "tells_all", "unreadable"]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unreadable:
    """A lazy image (see ``ImageSource``) that is none: it raises its reason when it is read."""

    kind: type[InputError]
    reason: str
    hides: bool
    """Whether documents whose ids cannot be told now may be behind it."""

    def __call__(self) -> NoReturn:
        """Raise an error of ``kind``."""
        raise self.kind(self.reason)


def unreadable(identity: str, error: InputError, *, hides: bool = False) -> Document:
    """A document that fails with ``error`` when the engine reads it.

    ``hides``: it stands for a whole file of documents, or for one whose own id cannot be read.
    """
    return Document(image=Unreadable(type(error), str(error), hides), id=identity)


def tells_all(documents: Iterable[Document]) -> bool:
    """Whether every document there is has its id here, so that others are known to be missing.

    Says so where not.
    """
    hiding = [
        document.id
        for document in documents
        for image in document.content.images
        if isinstance(image, Unreadable) and image.hides
    ]
    if hiding:
        _LOGGER.warning(
            "nothing was forgotten: which documents are in %s cannot be told; repair or remove it, "
            "then run --delete-missing again",
            ", ".join(map(str, hiding[:5])) + (" ..." if len(hiding) > 5 else ""),
        )
    return not hiding
