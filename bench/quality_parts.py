"""The way through a dataset: a few documents at a time, each for all queries that ask for it.

So a document is read once however many queries share it, without any of it being kept: memory holds
one part, not a corpus. Documents come in the order in which queries first ask for them, so that
where lists hardly overlap the first queries are finished early.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from minireranker.relevance import Dataset

__all__ = ["Part", "parts", "places"]

DOCUMENTS, PAIRS = 64, 32_768
"""At most so many in a part; one document's pairs may exceed it alone."""


@dataclass(frozen=True)
class Part:
    """Some documents, and the queries under one instruction that ask for them."""

    lists: dict[str, list[str]]
    """Of each query, which of the documents."""
    instruction: str | None

    @property
    def pairs(self) -> int:
        """Query and document."""
        return sum(len(listed) for listed in self.lists.values())


def parts(dataset: Dataset) -> Iterator[Part]:
    """Every pair of the dataset once."""
    asking: dict[str, list[str]] = {}
    for query, listed in dataset.candidates.items():
        for document in listed:
            asking.setdefault(document, []).append(query)
    held: list[str] = []
    pairs = 0
    for document, queries in asking.items():
        if held and (len(held) == DOCUMENTS or pairs + len(queries) > PAIRS):
            yield from _by_instruction(dataset, held, asking)
            held, pairs = [], 0
        held.append(document)
        pairs += len(queries)
    yield from _by_instruction(dataset, held, asking)


def _by_instruction(
    dataset: Dataset, documents: list[str], asking: dict[str, list[str]]
) -> Iterator[Part]:
    found: dict[str | None, dict[str, list[str]]] = {}
    for document in documents:
        for query in asking[document]:
            lists = found.setdefault(dataset.instruction_of(query), {})
            lists.setdefault(query, []).append(document)
    return (Part(lists, instruction) for instruction, lists in found.items())


def places(dataset: Dataset) -> dict[str, Mapping[str, int]]:
    """Of each query, where each candidate stands in its list, from 0.

    Queries that share a list share the mapping: all documents for all queries would be too many.
    """
    known: dict[int, dict[str, int]] = {}
    for listed in dataset.candidates.values():
        if id(listed) not in known:
            known[id(listed)] = {name: at for at, name in enumerate(listed)}
    return {query: known[id(listed)] for query, listed in dataset.candidates.items()}
