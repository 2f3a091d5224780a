"""Hard negatives: what a retriever finds for a query and nobody judged relevant, and chance ones.

As the miniReranker paper has it (method, section 6): for each positive two drawn from the
retriever's first twenty, two from the whole corpus.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from minireranker.engine.content import Content, Document
from minireranker.engine.written import content_to_json
from minireranker.errors import ConfigurationError, InputError, NoDocumentsError
from minireranker.relevance.dataset import RELEVANT

from .examples import Examples, Pair, content_key
from .files import write_atomically

Search: TypeAlias = Callable[[Sequence[Content], int], "list[list[int]]"]
"""For each query the places of the nearest documents in the corpus, best first, at most so many."""


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

    Negatives that ``positives`` has already are kept; drawn are only documents that are neither. A
    query without a positive is left out. The same seed draws the same, query by query. Raises
    NoDocumentsError for an empty corpus, InputError for documents that are not made of texts and
    paths, ConfigurationError where no query has a positive or ``out`` cannot be written.
    """
    settings = settings or MiningSettings()
    if not corpus:
        raise NoDocumentsError("the corpus is empty; pass at least one document")
    asked = _asked(positives)
    if not asked:
        raise ConfigurationError(f"no pair has a label of {RELEVANT} or more; nothing to mine for")
    depth = settings.depth + max(len(pairs) for pairs in asked.values())
    found = search([positives.contents[query] for query, _ in asked], depth)
    keys = [content_key(document.content) for document in corpus]
    rows = []
    for number, (pairs, nearest) in enumerate(zip(asked.values(), found, strict=True)):
        known = {positives.keys[pair.document] for pair in pairs}
        wanted = sum(pair.label >= RELEVANT for pair in pairs)
        draw = _Draw(keys, known, np.random.default_rng((settings.seed, number)))
        hard = draw.some(nearest, settings.hard * wanted, most=settings.depth)
        chance = draw.anywhere(settings.random * wanted)
        drawn = [corpus[at].content for at in (*hard, *chance)]
        rows.append(_row(positives, pairs, drawn, out.absolute().parent))
    _write(out, rows)
    counts = [sum(len(row[name]) for row in rows) for name in ("positives", "negatives")]
    return Mined(len(rows), *counts)


def _asked(examples: Examples) -> dict[tuple[int, str | None], list[Pair]]:
    """Pairs by (query, instruction), of those with a positive."""
    found: dict[tuple[int, str | None], list[Pair]] = {}
    for pair in examples.pairs:
        found.setdefault((pair.query, pair.instruction), []).append(pair)
    return {
        key: pairs for key, pairs in found.items() if any(pair.label >= RELEVANT for pair in pairs)
    }


@dataclass(eq=False)
class _Draw:
    """Draws documents nobody has judged for a query, each content once."""

    keys: Sequence[str]
    taken: set[str]
    random: np.random.Generator

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


def _row(
    examples: Examples, pairs: Sequence[Pair], drawn: Sequence[Content], folder: Path
) -> dict[str, Any]:
    query, instruction = pairs[0].query, pairs[0].instruction
    judged = {pair.document: pair.label for pair in pairs}
    good = [examples.contents[at] for at, label in judged.items() if label >= RELEVANT]
    bad = [examples.contents[at] for at, label in judged.items() if label < RELEVANT]
    row: dict[str, Any] = {
        "query": _value(examples.contents[query], folder),
        "positives": [_value(content, folder) for content in good],
        "negatives": [_value(content, folder) for content in (*bad, *drawn)],
    }
    return row if instruction is None else row | {"instruction": instruction}


def _value(content: Content, folder: Path) -> Any:
    """As ``read_examples`` reads it, paths from ``folder``."""
    found = content_to_json(content)
    if found is None:
        raise InputError(
            "a document is made of pixels in memory or comes from the network; write it to a file"
        )
    fields = {
        "text": found["texts"],
        "image": [os.path.relpath(path, folder) for path in found["images"]],
        "video": [
            [os.path.relpath(frame, folder) for frame in video]
            if isinstance(video, list)
            else os.path.relpath(video, folder)
            for video in found["videos"]
        ],
        "importances": [None if a is None else np.asarray(a).tolist() for a in content.importances],
    }
    kept = {name: value[0] if len(value) == 1 else value for name, value in fields.items() if value}
    return kept["text"] if list(kept) == ["text"] and len(found["texts"]) == 1 else kept


def _write(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, "".join(_lines(rows)).encode("utf-8", "surrogatepass"))
    except OSError as error:
        raise ConfigurationError(f"{out}: {error.strerror}; name another file") from error


def _lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
