"""What the transports need from their neighbours: who is asking, and what the media are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .jobs import Given

if TYPE_CHECKING:
    from minireranker.engine import Document, Query

__all__ = ["Authenticator", "MediaReader"]


class Authenticator(Protocol):
    """Knows the tokens."""

    def tenant(self, authorization: str | None) -> str:
        """The tenant of an ``Authorization`` header's value ("Bearer ..."); None: none was sent.

        Raises UnauthenticatedError. Without configured tokens every caller is tenant "".
        """


class MediaReader(Protocol):
    """Turns what a request brings into what the engine takes, within the limits.

    Bytes are checked and handed on undecoded: decoding is the worker's. Whatever is refused raises
    an InputError whose message says what to do, and repeats nothing a decoder or a socket said.
    """

    async def query(self, given: Given) -> Query:
        """Raises InputError."""

    async def document(self, given: Given) -> Document | str:
        """A text alone stays one, an id alone is a DocumentId. Raises InputError."""
