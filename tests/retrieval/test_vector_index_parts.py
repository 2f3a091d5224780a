"""Parts of an index by themselves: rounding to int8, when segments merge, where appends are cut."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from minireranker.retrieval.vector_index import Settings, VectorIndex
from minireranker.retrieval.vector_index.batch import Batch
from minireranker.retrieval.vector_index.layout import Counts, Layout, end_of
from minireranker.retrieval.vector_index.quantise import quantise, restore
from minireranker.retrieval.vector_index.tiers import (
    FAN_OUT,
    LARGEST,
    SMALLEST,
    groups,
    tier,
    worth_merging,
)
from minireranker.retrieval.vectors import TokenVectors

VALUES = st.floats(-(2.0**100), 2.0**100, width=32)


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2), elements=VALUES))
def test_rounding_to_int8_is_wrong_by_half_a_scale_at_most(values: NDArray[np.float32]) -> None:
    vectors = torch.from_numpy(values)
    rows, scales = quantise(vectors)
    assert rows.dtype is torch.int8
    assert int(rows.min()) >= -127
    error = (restore(rows, scales).double() - vectors.double()).abs()
    assert (error <= scales.double()[:, None] * 0.50001 + 1e-37).all()
    largest = vectors.abs().amax(dim=1)
    assert ((rows.abs().amax(dim=1) == 127) | (largest < 1e-36)).all()


def test_int8_scores_are_near_those_of_float32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(40, 256), dim=-1)
    sums = TokenVectors(vectors, np.arange(0, 41, 4), None, None)
    made = {"identity": "i", "encoder": "e", "dim": 256, "pooled_dim": 0, "dtype": "int8"}
    with VectorIndex.create(tmp_path, **made) as index:
        index.append([str(at) for at in range(10)], sums)
        (rows,) = index.rows(index.ids)
        assert rows.scales is not None
        assert (
            (restore(rows.pool, rows.scales) @ vectors.T) - vectors @ vectors.T
        ).abs().max() < 4e-3
        again = TokenVectors(rows.pool, sums.cu_seqlens, rows.scales, None)
        index.append(index.ids, again)
        (kept,) = index.rows(index.ids)
        assert torch.equal(kept.pool, rows.pool)
        assert torch.equal(kept.scales, rows.scales)


def test_int8_vectors_are_restored_for_a_float_index(tmp_path: Path) -> None:
    rows, scales = torch.tensor([[1, -127], [4, 2]], dtype=torch.int8), torch.tensor([0.5, 2.0])
    made = {"identity": "i", "encoder": "e", "dim": 2, "pooled_dim": 0, "dtype": "float32"}
    with VectorIndex.create(tmp_path, **made) as index:
        index.append(["a"], TokenVectors(rows, np.array([0, 2]), scales, None))
        (kept,) = index.rows(["a"])
        assert kept.pool.tolist() == [[0.5, -63.5], [8.0, 4.0]]


@settings(max_examples=30)
@given(st.lists(st.integers(100, 10**7), max_size=300), st.randoms(use_true_random=False))
def test_merging_keeps_segments_few_and_writes_little(
    sizes: list[int], draw: random.Random
) -> None:
    segments, written = list[int](), 0
    for size in sizes:
        segments.append(size)
        written += size
        while places := worth_merging(segments):
            assert len(places) >= 2
            merged = sum(segments[at] for at in places)
            written += merged
            segments = [size for at, size in enumerate(segments) if at not in places] + [merged]
    assert sum(segments) == sum(sizes)
    levels = 1 + tier(sum(sizes))
    assert len(segments) <= levels * (FAN_OUT - 1)
    assert written <= (1 + levels) * (sum(sizes) + SMALLEST * FAN_OUT * len(sizes))


def test_large_segments_are_left_alone_and_none_grows_beyond_the_largest() -> None:
    assert worth_merging([LARGEST // 2] * 100) == []
    places = worth_merging([LARGEST // 2 - 1] * FAN_OUT)
    assert 2 <= len(places) <= 3
    assert worth_merging([LARGEST // 17] * (FAN_OUT - 1)) == []
    found = groups([LARGEST * 3 // 4, LARGEST // 2, LARGEST // 2, 1, LARGEST * 2, 5], LARGEST)
    assert found == [[0], [1, 2], [3], [4], [5]]


def test_a_large_append_is_cut_between_documents() -> None:
    settings = Settings("i", "e", 8, 4, "float32")
    ends = np.cumsum([0, 3, 0, 5, 100, 1, 1])
    vectors = TokenVectors(torch.ones(110, 8), ends, None, torch.ones(6, 4))
    batch = Batch(settings, list("abcdef"), vectors, [None] * 6)
    cuts = batch.cut(400)
    assert cuts == [(0, 3), (3, 4), (4, 6)]
    assert batch.cut(1) == [(at, at + 1) for at in range(6)]
    assert batch.cut(10**9) == [(0, 6)]


@given(st.integers(0, 10**7), st.integers(0, 10**8), st.integers(0, 10**6))
def test_where_checks_begin_follows_from_the_size(documents: int, tokens: int, kills: int) -> None:
    counts = Counts(documents, tokens, kills, 3 * documents, 5)
    layout = Layout(Settings("i", "e", 128, 64, "int8"), counts, 1.0)
    assert end_of(layout.file_bytes) == layout.end
    spans = list(layout.spans.values())
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))
    assert Layout.of_header(layout.settings, layout.header()).spans == layout.spans
    assert Layout.of_header(Settings("i", "e", 128, 65, "int8"), layout.header()) is None


@pytest.mark.parametrize("count", [1, 2, 100])
def test_tiers_grow_with_the_logarithm(count: int) -> None:
    assert tier(count) == 0
    assert tier(SMALLEST * FAN_OUT**count) == count
    assert tier(SMALLEST * FAN_OUT**count - 1) == count - 1
    assert math.log(LARGEST / 2 / SMALLEST, FAN_OUT) == pytest.approx(6)
