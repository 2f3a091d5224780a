"""A document that is known to be unreadable, so that its call names it and ranks the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from minireranker.engine.content import Document
from minireranker.errors import InputError

__all__ = ["Unreadable", "unreadable"]


@dataclass(frozen=True)
class Unreadable:
    """A lazy image (see ``ImageSource``) that is none: it raises its reason when it is read."""

    kind: type[InputError]
    reason: str

    def __call__(self) -> NoReturn:
        """Raise an error of ``kind``."""
        raise self.kind(self.reason)


def unreadable(identity: str, error: InputError) -> Document:
    """A document that fails with ``error`` when the engine reads it."""
    return Document(image=Unreadable(type(error), str(error)), id=identity)
