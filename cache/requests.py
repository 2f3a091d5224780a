"""What a writer asks of the ledger, and what it is told."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass


class Verdict(enum.Enum):
    """What came of asking for room."""

    GRANTED = "there is room, and it is yours"
    THERE = "the entry lies there"
    BUSY = "somebody else is writing or removing it"
    EVICT = "remove the files of the victims, which are yours, then ask again"
    REFUSED = "there is no room, and nothing that could be evicted"
    UNKNOWN = "what lies in the folder has to be looked at first"


@dataclass(frozen=True)
class Answer:
    """To a request for room."""

    verdict: Verdict
    victims: tuple[str, ...] = ()
    claimant: str = ""
    """Where BUSY: the temporary file of whoever is at it."""


@dataclass(frozen=True)
class Request:
    """An entry that wants in."""

    key: str
    bytes: int
    created: float
    claimant: str
    """Name of the temporary file; locked as long as the writer lives."""
    oldest: float = -math.inf
    """What was made before this is worth nothing any more."""
    swept: bool = False
    """What the dead have left was cleared away before."""
