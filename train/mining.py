"""Hard negatives: what a retriever finds for a query and nobody judged relevant, and chance ones.

As the miniReranker paper has it (method, section 6): for each positive two drawn from the
retriever's first twenty, two from the whole corpus.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from minireranker.engine.content import Content, Document
from minireranker.errors import ConfigurationError, NoDocumentsError
from minireranker.relevance.dataset import RELEVANT

from .examples import Examples, content_key
from .files import write_atomically
from .mined_query import MinedQuery

Search: TypeAlias = Callable[[Sequence[Content], int], "list[list[int]]"]
"""For each query the places of the nearest documents in the corpus, best first, at most so many;
none for a query that cannot be read."""


@dataclass(frozen=True)
class MiningSettings:
    """What is drawn. Raises ConfigurationError for a value that cannot be honoured."""

    hard: int = 2
    """For each positive, from the retriever's first ``depth`` that are not positives."""
    random: int = 2
    """For each positive, from the whole corpus."""
    depth: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        for name, lowest in (("hard", 0), ("random", 0), ("depth", 1), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < lowest:
                raise ConfigurationError(f"{name} = {value!r}: allowed is {lowest} or more")
        if self.hard > self.depth:
            raise ConfigurationError(
                f"hard = {self.hard}: allowed is up to depth = {self.depth}, the documents searched"
            )


@dataclass(frozen=True)
class Mined:
    """What was written."""

    queries: int
    positives: int
    negatives: int


def mine(
    positives: Examples,
    corpus: Sequence[Document],
    search: Search,
    out: Path,
    settings: MiningSettings | None = None,
) -> Mined:
    """Write a JSONL file for training: each query with its positives and negatives.

    Negatives that ``positives`` has already are kept, and a label between 0 and 1 in a line of its
    own; drawn are only documents that nobody judged for the query and that are not the query. A
    query without a positive, or for which ``search`` has found nothing, is left out. The same seed
    draws the same, query by query. Raises NoDocumentsError for an empty corpus, InputError for
    documents that are not made of texts and paths, ConfigurationError where no query has a positive
    or is found anything for, or ``out`` cannot be written.
    """
    settings = settings or MiningSettings()
    if not corpus:
        raise NoDocumentsError("the corpus is empty; pass at least one document")
    asked = _asked(positives)
    if not asked:
        raise ConfigurationError(f"no pair has a label of {RELEVANT} or more; nothing to mine for")
    # Beside the documents that are known, the query itself may be in the corpus.
    depth = settings.depth + 1 + max(map(len, asked.values()))
    found = search([positives.contents[query] for query, _ in asked], depth)
    keys = [_sight(document.content) for document in corpus]
    rows, counts = [], np.zeros(3, np.int64)
    for number, ((query, instruction), nearest) in enumerate(zip(asked, found, strict=True)):
        if nearest:
            labels = asked[query, instruction]
            known = {_sight(positives.contents[at]) for at in (query, *labels)}
            draw = _Draw(keys, known, np.random.default_rng((settings.seed, number)))
            wanted = sum(label >= RELEVANT for label in labels.values())
            drawn = [corpus[at].content for at in draw.negatives(nearest, wanted, settings)]
            mined = MinedQuery(positives, query, instruction, out.absolute().parent)
            rows += mined.rows(labels, drawn)
            counts += 1, wanted, len(labels) - wanted + len(drawn)
    if not rows:
        raise ConfigurationError("nothing is found for any query; see the warnings")
    _write(out, rows)
    return Mined(*counts.tolist())


def _asked(examples: Examples) -> dict[tuple[int, str | None], dict[int, float]]:
    """Labels by document of each (query, instruction) with a positive; of two the higher."""
    found: dict[tuple[int, str | None], dict[int, float]] = {}
    for pair in examples.pairs:
        labels = found.setdefault((pair.query, pair.instruction), {})
        labels[pair.document] = max(pair.label, labels.get(pair.document, 0.0))
    return {key: labels for key, labels in found.items() if max(labels.values()) >= RELEVANT}


def _sight(content: Content) -> str:
    """Equal for what looks equal, whatever is said of its tokens."""
    return content_key(dataclasses.replace(content, importances=()))


@dataclass(eq=False)
class _Draw:
    """Draws documents nobody has judged for a query, each content once."""

    keys: Sequence[str]
    taken: set[str]
    random: np.random.Generator

    def negatives(self, nearest: Sequence[int], wanted: int, settings: MiningSettings) -> list[int]:
        """Hard ones, then chance ones, for so many positives."""
        hard = self.some(nearest, settings.hard * wanted, most=settings.depth)
        return [*hard, *self.anywhere(settings.random * wanted)]

    def some(self, places: Sequence[int], count: int, most: int) -> list[int]:
        """So many of the first ``most`` of ``places`` that are free."""
        free = self._free(places, most)
        drawn = self.random.permutation(len(free))[:count]
        return self._take([free[at] for at in sorted(drawn.tolist())])

    def anywhere(self, count: int) -> list[int]:
        """So many of the whole corpus."""
        tried = self.random.permutation(len(self.keys)).tolist()
        return self._take(self._free(tried, count))

    def _free(self, places: Sequence[int], most: int) -> list[int]:
        found: dict[str, int] = {}
        for place in places:
            if len(found) == most:
                break
            if self.keys[place] not in self.taken:
                found.setdefault(self.keys[place], place)
        return list(found.values())

    def _take(self, places: list[int]) -> list[int]:
        self.taken |= {self.keys[place] for place in places}
        return places


def _write(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, "".join(_lines(rows)).encode("utf-8", "surrogatepass"))
    except OSError as error:
        raise ConfigurationError(f"{out}: {error.strerror}; name another file") from error


def _lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
