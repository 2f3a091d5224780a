"""No score depends on the company it is computed in: not by a bit, on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minireranker import Cache, Reranker

QUERIES: list[Any] = ["a red circle left of a blue square", "revenue"]


@pytest.fixture(scope="module")
def documents(picture: Callable[..., Any]) -> list[Any]:
    """Eleven of different kinds and spans."""
    images = [picture(64 + 32 * (n % 3), 64 + 32 * (n % 4), n) for n in range(7)]
    return [*images, "a text", "another text, longer than the first", "", {"image": images[:2]}]


@pytest.fixture(scope="module", params=["float32", "bfloat16", "int8"])
def make(request: pytest.FixtureRequest, tiny: Path) -> Callable[..., Reranker]:
    """A fresh Reranker, nothing cached: ``make(batch_tokens=...)``."""

    def reranker(**arguments: Any) -> Reranker:
        return Reranker.from_pretrained(tiny, profile="mini", dtype=request.param, **arguments)

    return reranker


def same_bits(left: Any, right: Any) -> bool:
    return np.asarray(left).tobytes() == np.asarray(right).tobytes()


@pytest.mark.parametrize("query", [*QUERIES, "picture"])
def test_order_splits_repeats_and_batches(
    make: Callable[..., Reranker], documents: list[Any], picture: Callable[..., Any], query: Any
) -> None:
    query = {"image": picture(96, 64, 50)} if query == "picture" else query
    whole = make().score([query], documents)[0]
    order = np.random.default_rng(0).permutation(len(documents))
    assert same_bits(make().score([query], [documents[i] for i in order])[0], whole[order])
    repeated = make().score([query], [*documents, *documents])[0]
    assert same_bits(repeated, np.concatenate([whole, whole]))
    for batch_tokens in (1, 50, 333):
        assert same_bits(make(batch_tokens=batch_tokens).score([query], documents)[0], whole)


def test_alone_is_as_in_company(make: Callable[..., Reranker], documents: list[Any]) -> None:
    whole = make().score(QUERIES, documents)
    alone = [make().score([QUERIES[0]], [document])[0, 0] for document in documents]
    assert same_bits(np.array(alone, np.float32), whole[0])
    assert same_bits(make().score([QUERIES[1]], documents)[0], whole[1])
    ragged = make().score_candidates(QUERIES, [documents[:4], documents[2:]])
    assert same_bits(ragged[0], whole[0, :4])
    assert same_bits(ragged[1], whole[1, 2:])


def test_the_cache_changes_nothing(make: Callable[..., Reranker], documents: list[Any]) -> None:
    cold = make()
    whole = cold.score(QUERIES, documents)
    assert same_bits(cold.score(QUERIES, documents), whole), "warm"
    never_kept = make(cache=Cache(memory_bytes=0)).score(QUERIES, documents)
    assert same_bits(never_kept, whole)
    indexed = make()
    ids = indexed.index(documents)
    assert same_bits(indexed.score(QUERIES, ids), whole), "read ahead"
    assert same_bits(indexed.score(QUERIES, list(reversed(ids))), whole[:, ::-1])
