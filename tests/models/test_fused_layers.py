"""Fused layers are the layers they replace: same scores as the full sequence, same shapes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minireranker import Reranker
from minireranker.bench.oracle import full_sequence_scores
from minireranker.models.qwen3_vl.fused import FusedLayer


def fused(tiny: Path, dtype: str) -> tuple[Reranker, Reranker]:
    """The same model twice, once with fused layers."""
    plain = Reranker.from_pretrained(tiny, keep_ratio=1.0, dtype=dtype)
    other = Reranker.from_pretrained(tiny, keep_ratio=1.0, dtype=dtype, fused=True)
    assert isinstance(other.state.model.decoder.layer(0), FusedLayer)
    # They round in another order: no entry of one may serve the other.
    assert other.namespace.name != plain.namespace.name
    return plain, other


def test_scores_are_those_of_the_full_sequence(tiny: Path, picture: Callable[..., Any]) -> None:
    documents = [picture(64 + 32 * (n % 3), 96, n) for n in range(6)]
    documents += [{"image": [picture(64, 64, 9), picture(96, 64, 8)], "text": "two"}]
    _, reranker = fused(tiny, "float32")
    ranking = reranker.rank("a red circle", documents)
    whole = full_sequence_scores(reranker, "a red circle", [hit.document for hit in ranking])
    spread = ranking[0].score - ranking[-1].score
    np.testing.assert_allclose([hit.score for hit in ranking], whole, atol=1e-4 * spread, rtol=0)


def test_in_bfloat16_they_are_as_near_as_the_plain_ones(
    tiny: Path, picture: Callable[..., Any]
) -> None:
    documents = [picture(96, 96, n) for n in range(12)]
    plain, reranker = fused(tiny, "bfloat16")
    exact = Reranker.from_pretrained(tiny, keep_ratio=1.0, dtype="float32")
    queries = ["red", "a blue square above a green star", "revenue"]
    wide = exact.score(queries, documents)
    errors = [np.abs(r.score(queries, documents) - wide).std() for r in (plain, reranker)]
    assert errors[1] <= 1.5 * errors[0]


@pytest.mark.parametrize("rows", [16, 48])
def test_each_half_gives_what_the_plain_one_gives(tiny: Path, rows: int) -> None:
    decoder = Reranker.from_pretrained(tiny, keep_ratio=1.0, dtype="float32").state.model.decoder
    layer = decoder.layer(0)
    other = FusedLayer(copy.deepcopy(layer))
    random = torch.Generator().manual_seed(0)
    x = torch.randn(rows, decoder.config.hidden_size, generator=random)
    rope = decoder.rope(torch.arange(rows).repeat(3, 1))
    some = torch.tensor([3, 7, 15])
    with torch.inference_mode():
        for ours, theirs in zip(
            (*other.project(x, rope), *other.project_some(x, rope, some)),
            (*layer.project(x, rope), *layer.project_some(x, rope, some)),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs)
        attended = layer.project(x, rope).q
        torch.testing.assert_close(other.finish(x, attended), layer.finish(x, attended))


def test_they_take_as_many_bytes(tiny: Path) -> None:
    plain, reranker = fused(tiny, "float32")
    assert reranker.state.model.nbytes == plain.state.model.nbytes
