"""Merging and compacting with segments of all sizes: order, deletions and room are kept."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minireranker.retrieval.vector_index import VectorIndex
from minireranker.retrieval.vector_index.batch import Batch
from minireranker.retrieval.vector_index.tiers import FAN_OUT, SMALLEST
from minireranker.retrieval.vector_index.writer import Writer

SAMPLES = runpy.run_path(str(Path(__file__).with_name("index_documents.py")))
vectors_of, kept_of, files_of = (SAMPLES[n] for n in ("vectors_of", "kept_of", "files_of"))
MADE: dict[str, Any] = {"identity": "i", "encoder": "e", "dim": 64, "pooled_dim": 64}


def add(index: VectorIndex, names: list[str], version: int = 1) -> None:
    index.append(names, vectors_of(dict.fromkeys(names, version), 64, 64))


@contextmanager
def writer_of(index: VectorIndex) -> Iterator[Writer]:
    with index._folder.locked("test", 0):
        yield Writer(index._folder, index._snapshot)
    index.refresh()


def test_small_segments_on_both_sides_of_a_large_one_keep_their_order(tmp_path: Path) -> None:
    large = [f"large {at}" for at in range(200)]
    before = [f"before {at}" for at in range(FAN_OUT - 1)]
    with VectorIndex.create(tmp_path, **MADE) as index:
        for name in before:
            add(index, [name])
        add(index, large)
        assert max(files_of(tmp_path).values()) > SMALLEST * FAN_OUT
        add(index, ["after"])
        assert len(index._snapshot.parts) == 2
        assert index.ids == [*before, *large, "after"]
        kept = kept_of(index, index.ids)
        index.compact()
        assert index.ids == [*before, *large, "after"]
        assert kept_of(index, index.ids) == kept
        assert index.delete([before[3], large[0], "after"]) == 3
        assert index.ids == [*before[:3], *before[4:], *large[1:]]


def test_deletions_outlive_the_merging_of_what_says_so(tmp_path: Path) -> None:
    names = [f"n{at}" for at in range(300)]
    with VectorIndex.create(tmp_path, **MADE) as index:
        add(index, names)
        for at in range(30):
            assert index.delete([f"n{at}"]) == 1
            add(index, [f"n{at + 100}"], 2)
        expected = [*names[30:100], *names[130:], *names[100:130]]
        assert len(index._snapshot.parts) < 2 * FAN_OUT
        with VectorIndex.open(tmp_path) as again:
            assert again.ids == index.ids == expected
            assert again.nbytes["kills"] == 60 * 8
            assert kept_of(again, ["n100"]) == kept_of(index, ["n100"])
        kept = kept_of(index, expected)
        assert index.nbytes["numbers"] == 8 * 330
        index.compact()
        assert index.nbytes["kills"] == 0
        assert index.nbytes["numbers"] == 8 * 270
        assert kept_of(index, expected) == kept


def test_a_segment_of_deleted_documents_goes_by_itself(tmp_path: Path) -> None:
    with VectorIndex.create(tmp_path, **MADE) as index:
        names = [f"n{at}" for at in range(300)]
        add(index, names)
        large = max(files_of(tmp_path).values())
        index.delete(names)
        for at in range(FAN_OUT):
            add(index, [f"new {at}"])
        assert len(index) == FAN_OUT
        assert sum(files_of(tmp_path).values()) < large / 2


@pytest.mark.parametrize("largest", [1, 3_000, 20_000, 10**9])
def test_one_write_may_make_and_rewrite_many_segments(tmp_path: Path, largest: int) -> None:
    names = [f"n{at}" for at in range(60)]
    with VectorIndex.create(tmp_path, **MADE) as index:
        add(index, names[:40], 3)
        vectors = vectors_of(dict.fromkeys(names[20:], 1), 64, 64)
        with writer_of(index) as writer:
            writer.append(Batch(index.settings, names[20:], vectors, [None] * 40), largest)
        assert index.ids == names
        assert len(index._snapshot.parts) == {1: 41, 3_000: 11, 20_000: 3}.get(largest, 2)
        assert index.nbytes["kills"] == 20 * 8
        index.delete(names[15:45:2])
        kept = kept_of(index, index.ids)
        with writer_of(index) as writer:
            writer.compact(False, largest)
        assert list(kept) == index.ids
        assert kept_of(index, index.ids) == kept
        assert sum(part.segment.documents for part in index._snapshot.parts) == len(index)
        assert all(part.segment.documents for part in index._snapshot.parts)
        assert len(files_of(tmp_path)) == 1 + len(index._snapshot.parts)
        assert index.verify().sound
