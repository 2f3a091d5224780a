"""What a ranking is measured on: queries, documents, who is relevant, and what is to be ranked."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from minireranker.engine.content import Document, Query
from minireranker.errors import ConfigurationError

__all__ = ["RELEVANT", "Dataset"]

RELEVANT = 0.5
"""From this grade on a document counts as relevant, where only yes or no is asked: 1 and more of
whole-numbered judgments, at least a half of labels between 0 and 1."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Judged queries and their candidates. Ids are the files' own, or given by ``open_dataset``."""

    name: str
    queries: dict[str, Query]
    """Those with judgments and candidates."""
    documents: dict[str, Document]
    """Each with its id."""
    qrels: dict[str, dict[str, float]]
    """Of each query, what its judged documents are worth; others are worth nothing."""
    candidates: dict[str, list[str]]
    """Of each query, what is to be ranked, without repeats."""
    instructions: dict[str, str] = field(default_factory=dict)
    """Of the queries that bring their own."""
    instruction: str | None = None
    """Of all others; None: the profile's."""
    is_ranked: bool = False
    """Whether the candidates' order is a retriever's. If not it is by a digest of the ids, so
    that a model that ties all scores gains nothing from the order of the file."""
    is_listed: bool = False
    """Whether a file says what is to be ranked; if not it is what was judged, or all there is."""
    source: Path | None = None
    """The folder or file it was read from."""
    unjudged: int = 0
    """Queries that were left out because nothing was judged for them."""

    @property
    def pairs(self) -> int:
        """Query and candidate."""
        return sum(len(listed) for listed in self.candidates.values())

    def instruction_of(self, query: str) -> str | None:
        """The query's own, else the dataset's."""
        return self.instructions.get(query, self.instruction)

    def sample(self, count: int, seed: int = 0) -> Dataset:
        """So many of the queries, drawn by ``seed``, in their order; all where there are fewer.

        Documents that no remaining query has as a candidate are let go of. Raises
        ConfigurationError for less than one.
        """
        if count < 1:
            raise ConfigurationError(f"{count} queries; allowed is 1 or more")
        drawn = set(random.Random(seed).sample(list(self.queries), min(count, len(self.queries))))
        return self.only(query for query in self.queries if query in drawn)

    def top(self, depth: int) -> Dataset:
        """At most the first ``depth`` candidates of each query.

        Raises ConfigurationError for less than one.
        """
        if depth < 1:
            raise ConfigurationError(f"{depth} candidates; allowed is 1 or more")
        return self._narrowed(self.queries, {q: c[:depth] for q, c in self.candidates.items()})

    def only(self, queries: Iterable[str]) -> Dataset:
        """These queries; documents that none of them has as a candidate are let go of."""
        kept = {name: self.queries[name] for name in queries}
        return self._narrowed(kept, {name: self.candidates[name] for name in kept})

    def _narrowed(self, queries: Mapping[str, Query], candidates: dict[str, list[str]]) -> Dataset:
        needed = {name for listed in candidates.values() for name in listed}
        return dataclasses.replace(
            self,
            queries=dict(queries),
            documents={k: v for k, v in self.documents.items() if k in needed},
            qrels={name: self.qrels[name] for name in queries},
            candidates=candidates,
            instructions={k: v for k, v in self.instructions.items() if k in queries},
        )
