"""Who takes part: which peers were asked for, and which of them can run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minireranker.errors import ConfigurationError

if TYPE_CHECKING:
    from minireranker.bench.peers import PeerSpec

__all__ = ["Contender", "choose"]


@dataclass(frozen=True)
class Contender:
    """One way of one peer to score."""

    peer: str
    method: str
    profile: str
    """Of the unmodified model whose scores it must give."""
    absence: str | None = None
    """Why it cannot run here, and what to do."""

    @property
    def keeps_prefixes(self) -> bool:
        """Whether what comes first in a pair stays for the next: so it is in the dense order."""
        return self.profile == "dense"

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.peer}: {self.method}"


def choose(asked: Sequence[str], known: Mapping[str, PeerSpec]) -> list[Contender]:
    """The contenders of ``asked``: all, none, PEER or PEER:METHOD, several of them.

    Raises ConfigurationError for a name that is not ``known``.
    """
    everyone = [
        Contender(spec.name, method, profile, spec.absence)
        for spec in known.values()
        for method, profile in spec.methods.items()
    ]
    names = {name for one in everyone for name in (one.peer, f"{one.peer}:{one.method}")}
    for name in asked:
        if name not in names | {"all", "none"}:
            raise ConfigurationError(
                f"peer {name!r}: there are all, none, {', '.join(sorted(names))}"
            )
    if "none" in asked:
        return []
    return [one for one in everyone if {"all", one.peer, f"{one.peer}:{one.method}"} & set(asked)]
