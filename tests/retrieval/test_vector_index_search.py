"""The nearest documents: exactly, in a well-defined order, and by the graph of neighbours."""

from __future__ import annotations

import logging
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minireranker.errors import ConfigurationError, InputError
from minireranker.retrieval.vector_index import VectorIndex
from minireranker.retrieval.vector_index.graph import FEWEST
from minireranker.retrieval.vectors import TokenVectors

SAMPLES = runpy.run_path(str(Path(__file__).with_name("index_documents.py")))
files_of = SAMPLES["files_of"]
DIM = 24


def made(path: Path, ann: str = "exact", dim: int = DIM) -> VectorIndex:
    return VectorIndex.create(path, identity="i", encoder="e", dim=0, pooled_dim=dim, ann=ann)


def rows(count: int, seed: int = 0, dim: int = DIM) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=draw), dim=1)


def add(index: VectorIndex, ids: list[str], pooled: Tensor) -> None:
    ends = np.zeros(len(ids) + 1, np.int64)
    index.append(ids, TokenVectors(torch.empty(0, 0), ends, None, pooled))


def names(first: int, last: int) -> list[str]:
    return [f"d{at}" for at in range(first, last)]


def found_in(index: VectorIndex, queries: Tensor, top_k: int) -> list[list[tuple[str, float]]]:
    results = index.search(queries, top_k)
    return [list(zip(f.ids, f.scores.tolist(), strict=True)) for f in results]


def test_the_nearest_are_those_of_a_sort(tmp_path: Path) -> None:
    pooled, queries = rows(3000), rows(300, seed=1)
    with made(tmp_path) as index:
        for first in range(0, 3000, 700):
            add(index, names(first, min(first + 700, 3000)), pooled[first : first + 700])
        scores = (queries.double() @ pooled.double().T).float().numpy()
        order = np.argsort(-scores, axis=1, kind="stable")
        for top_k in (1, 10, 2999, 3000, 5000):
            for at, found in enumerate(index.search(queries.numpy()[:40], top_k)):
                assert list(found.ids) == [f"d{place}" for place in order[at, :top_k]]
                assert (np.abs(found.scores - scores[at, order[at, :top_k]]) < 1e-7).all()
        assert len(index.search(queries, 3)) == 300


def test_equal_documents_come_in_the_order_they_were_appended_in(tmp_path: Path) -> None:
    same, queries = rows(1, seed=4).repeat(60, 1), torch.cat([rows(1, seed=4), rows(2, seed=5)])
    with made(tmp_path) as index:
        for at in range(60):
            add(index, [f"d{at}"], same[at : at + 1])
        add(index, ["d3"], same[:1])
        index.delete(["d0", "d7"])
        expected = [f"d{at}" for at in range(60) if at not in (0, 3, 7)]
        for _ in range(2):
            for found in index.search(queries, 10):
                assert list(found.ids) == expected[:10]
            assert index.search(queries, 60)[0].ids[-1] == "d3"
            index.compact()


def test_what_float32_cannot_tell_apart_is_ranked_nevertheless(tmp_path: Path) -> None:
    queries, others = rows(3, dim=512), rows(3000, seed=1, dim=512)
    pooled = queries[:1] / 2 + others - (others @ queries[:1].T) * queries[:1]
    with made(tmp_path, dim=512) as index:
        add(index, names(0, 3000), pooled)
        scores = (pooled.double().numpy() * queries[0].double().numpy()).sum(axis=1)
        order = np.argsort(-scores.astype(np.float32), kind="stable")
        for top_k in (1, 20, 500):
            assert list(index.search(queries, top_k)[0].ids) == [f"d{at}" for at in order[:top_k]]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.lists(st.integers(-1, 1), min_size=2, max_size=2), min_size=1, max_size=30),
    st.integers(1, 31),
)
def test_few_values_and_many_ties(
    tmp_path_factory: pytest.TempPathFactory, values: list[list[int]], top_k: int
) -> None:
    pooled = torch.tensor(values, dtype=torch.float32)
    with made(tmp_path_factory.mktemp("ties"), dim=2) as index:
        half = len(values) // 2
        add(index, names(0, half), pooled[:half])
        add(index, names(half, len(values)), pooled[half:])
        queries = torch.tensor([[1.0, 0.0], [0.5, -2.0], [0.0, 0.0]])
        scores = (queries @ pooled.T).numpy()
        order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
        for at, found in enumerate(index.search(queries, top_k)):
            assert list(found.ids) == [f"d{place}" for place in order[at]]


def test_queries_that_may_not_be_written_to_are_no_warning(tmp_path: Path) -> None:
    queries = np.eye(2, DIM)
    queries.flags.writeable = False
    with made(tmp_path) as index:
        add(index, ["a"], rows(1))
        assert [found.ids for found in index.search(queries, 1)] == [("a",)] * 2


@pytest.mark.parametrize(
    ("queries", "top_k", "error"),
    [
        *((torch.ones(DIM), 1, InputError), (torch.ones(1, DIM + 1), 1, InputError)),
        *((torch.full((1, DIM), torch.nan), 1, InputError), (rows(1), 0, ConfigurationError)),
        (rows(1), 2.0, ConfigurationError),
    ],
)
def test_other_queries_are_refused(
    tmp_path: Path, queries: Tensor, top_k: Any, error: type[Exception]
) -> None:
    with made(tmp_path) as index, pytest.raises(error):
        index.search(queries, top_k)


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("linked")
    with made(path, "hnsw") as index:
        add(index, names(0, 3000), rows(3000))
    return path


def recall(index: VectorIndex, pooled: Tensor, queries: Tensor, alive: set[str]) -> float:
    scores = (queries @ pooled.T).numpy()
    order = np.argsort(-scores, axis=1)
    hits = 0
    for at, found in enumerate(index.search(queries, 10)):
        assert alive.issuperset(found.ids)
        assert len(found.ids) == len(set(found.ids)) == 10
        best = [f"d{place}" for place in order[at] if f"d{place}" in alive][:10]
        hits += len(set(best) & set(found.ids))
    return hits / (10 * len(queries))


def copy_of(linked: Path, to: Path) -> VectorIndex:
    for name in files_of(linked):
        (to / name).write_bytes((linked / name).read_bytes())
    return VectorIndex.open(to)


def test_the_graph_finds_what_exact_search_finds(linked: Path, tmp_path: Path) -> None:
    pooled, queries = rows(3000), rows(50, seed=1)
    with copy_of(linked, tmp_path) as index:
        assert index.nbytes["graph"] > 3000 * DIM * 2
        assert sum(index.nbytes.values()) == sum(files_of(tmp_path).values())
        assert recall(index, pooled, queries, set(names(0, 3000))) >= 0.95
        scores = queries[:1].double() @ pooled.double().T
        assert index.search(queries[:1], 1)[0].scores[0] == scores.max().float()


def test_the_graph_knows_nothing_of_the_deleted_and_all_of_the_new(
    linked: Path, tmp_path: Path
) -> None:
    pooled, queries = torch.cat([rows(3000), rows(200, seed=2)]), rows(50, seed=1)
    with copy_of(linked, tmp_path) as index:
        graph = index._snapshot.manifest.graph
        add(index, names(3000, 3200), pooled[3000:])
        index.delete(names(0, 800))
        assert index._snapshot.manifest.graph == graph
        alive = set(names(800, 3200))
        assert recall(index, pooled, queries, alive) >= 0.95
        assert index.search(pooled[3100:3101], 1)[0].ids == ("d3100",)
        everything = index.search(queries[:2], 5000)
        assert [len(found.ids) for found in everything] == [2400, 2400]
        assert len(index.search(queries[:1], 1400)[0].ids) == 1400
        index.compact()
        assert index._snapshot.manifest.graph.documents == 2400
        assert recall(index, pooled, queries, alive) >= 0.95
        add(index, names(4000, 5300), rows(1300, seed=3))
        assert index._snapshot.manifest.graph.documents == 3700
        assert len(files_of(tmp_path)) == 2 + len(index._snapshot.parts)


@pytest.mark.parametrize("how", ["missing", "flipped", "cut"])
def test_a_damaged_graph_is_made_anew(
    linked: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with copy_of(linked, tmp_path) as index:
        path = tmp_path / index._snapshot.manifest.graph.name
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data if how == "flipped" else data[:-7])
        if how == "missing":
            path.unlink()
        (damage,) = index.verify().damages
        assert (damage.part, damage.path, damage.documents) == ("graph", path, ())
        with caplog.at_level(logging.WARNING):
            assert recall(index, rows(3000), rows(9, seed=1), set(names(0, 3000))) >= 0.95
        assert "made anew" in caplog.text
        assert index.verify().sound
        assert len(files_of(tmp_path)) == 3


def test_a_damaged_graph_is_done_without_while_another_writes(
    linked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with copy_of(linked, tmp_path) as index:
        (tmp_path / index._snapshot.manifest.graph.name).unlink()
        with VectorIndex.open(tmp_path)._folder.locked("test", 0), caplog.at_level(logging.WARNING):
            assert recall(index, rows(3000), rows(9, seed=1), set(names(0, 3000))) == 1
            assert len(index.search(rows(1), 1)) == 1
        assert caplog.text.count("all documents are searched") == 1


def test_few_documents_have_no_graph(tmp_path: Path) -> None:
    with made(tmp_path, "hnsw") as index:
        add(index, names(0, FEWEST - 1), rows(FEWEST - 1))
        assert index.nbytes["graph"] == 0
        assert index.search(rows(2), 1)[1].ids == ("d1",)
        add(index, ["one more"], rows(1, seed=9))
        assert index.nbytes["graph"] > 0
        index.delete(names(0, FEWEST))
        index.compact()
        assert index.search(rows(1), 5)[0].ids == ("one more",)
        assert index.nbytes["graph"] == 0
