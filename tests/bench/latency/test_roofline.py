"""FLOP and bytes of a pass, counted by hand for a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from minireranker import Document, Profile, Reranker
from minireranker.bench.arithmetic import arithmetic
from minireranker.bench.latency.roofline import Ceilings, Query, measure_ceilings, query_cost


@pytest.fixture(scope="module")
def reranker(tiny: Path) -> Reranker:
    profile = Profile(exit_layer=4, band=(2, 4))
    found = Reranker.from_pretrained(tiny, profile=profile, dtype="float32", batch_tokens=32)
    found.index([Document(text="a red circle", id="one"), Document(text="a red square", id="two")])
    return found


def test_bytes_are_entries_once_and_weights_once_a_batch(reranker: Reranker) -> None:
    ranking = reranker.rank("a circle", [Document(id="one"), Document(id="two")])
    listed = 8
    cost = query_cost(reranker, ranking.work.pair_token_layers, 2, listed)
    assert cost.suffix_tokens == ranking.work.pair_token_layers // (2 * 2)
    assert cost.flop == sum(arithmetic(reranker, listed, cost.suffix_tokens, cost.prefix_tokens))
    hidden, kv, mlp, head = 64, 32, 160, 16
    layer = 4 * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * mlp + 2 * hidden + 2 * head)
    batches = -(-listed * cost.suffix_tokens // 32)
    assert batches > 1
    kept = 2 * cost.prefix_tokens * (2 * kv) * 4
    assert cost.bytes == listed * kept + (2 + 2 * batches) * layer


@pytest.mark.parametrize(
    ("flop", "moved", "roof"),
    [(100.0, 1.0, 1000.0), (1.0, 1.0, 10.0)],
)
def test_the_roof_is_the_lower_of_the_two(flop: float, moved: float, roof: float) -> None:
    reached = Ceilings(1000.0, 10.0).reached(Query(flop, moved, 1, 1.0), queries=3, seconds=2.0)
    assert reached["flop_per_second"] == 1.5 * flop
    assert reached["bytes_per_second"] == 1.5 * moved
    assert reached["share_of_roof"] == pytest.approx(1.5 * flop / roof)
    assert reached["share_of_flop_ceiling"] == pytest.approx(1.5 * flop / 1000)
    assert reached["share_of_bytes_ceiling"] == pytest.approx(1.5 * moved / 10)


def test_ceilings_are_measured(reranker: Reranker) -> None:
    found = measure_ceilings(reranker, 64)
    assert 1e6 < found.flop_per_second < 1e16
    assert 1e8 < found.bytes_per_second < 1e14
