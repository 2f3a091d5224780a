"""What is to be ranked for a query where no candidates file says so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from .dataset import RELEVANT

__all__ = ["chosen", "unordered"]


def unordered(names: Iterable[str]) -> list[str]:
    """Ids in an order that says nothing about their labels: by a digest of each."""
    return sorted(names, key=lambda name: hashlib.blake2b(name.encode(), digest_size=8).digest())


def chosen(
    qrels: Mapping[str, Mapping[str, float]], documents: Iterable[str]
) -> dict[str, list[str]]:
    """A query's judged documents, if one of them is not relevant; else all documents.

    The list of all documents is one object, shared by the queries that have it.
    """
    everything: list[str] = []
    found = {}
    for query, judged in qrels.items():
        if any(grade < RELEVANT for grade in judged.values()):
            found[query] = unordered(judged)
            continue
        # Where all that was judged is relevant, as in most of BEIR, any order of it is perfect.
        everything = everything or unordered(documents)
        found[query] = everything
    return found
