"""What a build did: for every document of the call its id, or why it failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar, overload

from minireranker.engine.content import DocumentId
from minireranker.engine.types import FailedDocument, Timings, Work

_Sum = TypeVar("_Sum", Timings, Work)


@dataclass(frozen=True)
class BuildTimes:
    """Wall-clock seconds of a build by what they were spent on."""

    lookup: float = 0.0
    """Finding out what is there already."""
    encode: float = 0.0
    """Reading documents and making their vectors."""
    rerank: float = 0.0
    """Reading them into the reranker's cache."""
    append: float = 0.0
    """Writing vectors."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.lookup + self.encode + self.rerank + self.append


@dataclass(frozen=True, eq=False)
class Built(Sequence["DocumentId | None"]):
    """The answer of ``build_index``: one id a document, in order; None where it failed."""

    ids: tuple[DocumentId | None, ...]
    failed: tuple[FailedDocument, ...] = ()
    """Not in the index from this call; what an earlier one left under the id stays."""
    encoded: int = 0
    """Documents whose vectors were made."""
    unchanged: int = 0
    """Documents that were there already; of several with one id the last counts."""
    times: BuildTimes = field(default_factory=BuildTimes)
    keys: tuple[str | None, ...] = ()
    """Keys of the documents' entries in the reranker's cache; None where there is none."""
    work: Work = field(default_factory=Work)
    """Of the reranker."""
    timings: Timings = field(default_factory=Timings)
    """Likewise."""

    def __len__(self) -> int:
        """Documents passed in."""
        return len(self.ids)

    @overload
    def __getitem__(self, at: int) -> DocumentId | None: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[DocumentId | None, ...]: ...
    def __getitem__(self, at: int | slice) -> DocumentId | tuple[DocumentId | None, ...] | None:
        """The id of the document passed at that place."""
        return self.ids[at]


def added(one: _Sum, other: _Sum) -> _Sum:
    """Field by field."""
    sums = {
        spec.name: getattr(one, spec.name) + getattr(other, spec.name)
        for spec in dataclasses.fields(one)
    }
    return dataclasses.replace(one, **sums)
