"""An index is a dictionary of arrays, whatever is done to it, by whichever of two handles."""

from __future__ import annotations

import runpy
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from minireranker.errors import UnknownDocumentError
from minireranker.retrieval.vector_index import VectorIndex

SAMPLES = runpy.run_path(str(Path(__file__).with_name("index_documents.py")))
vectors_of, kept_of, files_of, tokens_of, pooled_of, SumOfMaxima = (
    SAMPLES[name]
    for name in ("vectors_of", "kept_of", "files_of", "tokens_of", "pooled_of", "SumOfMaxima")
)
NAMES = ["a", "b", "\0", "ä", "日本", "x" * 300, *(f"n{at}" for at in range(12))]
SOME = st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True)
ENCODER = SumOfMaxima()


class Dictionary(RuleBasedStateMachine):
    """``self.documents``: name -> (version, source), oldest first."""

    @initialize(
        dtype=st.sampled_from(["float32", "bfloat16"]),
        dims=st.sampled_from([(16, 8), (16, 0), (0, 8), (3, 5)]),
    )
    def create(self, dtype: str, dims: tuple[int, int]) -> None:
        self.path, self.dtype, self.dims = Path(tempfile.mkdtemp()), dtype, dims
        self.index = VectorIndex.create(
            self.path, identity="i", encoder="e", dim=dims[0], pooled_dim=dims[1], dtype=dtype
        )
        self.documents: dict[str, tuple[int, str | None]] = {}
        self.version = 0

    def teardown(self) -> None:
        shutil.rmtree(self.path)

    @rule(names=SOME, with_source=st.booleans())
    def append(self, names: list[str], with_source: bool) -> None:
        self._append(self.index, names, with_source)

    @rule(names=SOME)
    def append_in_another_handle(self, names: list[str]) -> None:
        with VectorIndex.open(self.path, identity="i") as other:
            self._append(other, names, False)
        assert self.index.refresh()
        assert not self.index.refresh()

    @rule(times=st.integers(8, 10))
    def append_singly(self, times: int) -> None:
        for at in range(times):
            self._append(self.index, [NAMES[at % len(NAMES)]], False)

    def _append(self, index: VectorIndex, names: list[str], with_source: bool) -> None:
        self.version += 1
        source = f'{{"v":{self.version}}}' if with_source else None
        vectors = vectors_of(dict.fromkeys(names, self.version), *self.dims)
        index.append(names, vectors, [source] * len(names) if with_source else None)
        for name in names:
            self.documents.pop(name, None)
            self.documents[name] = (self.version, source)

    @rule(names=SOME)
    def delete(self, names: list[str]) -> None:
        there = [name for name in names if self.documents.pop(name, None)]
        assert self.index.delete([*names, *names[:1], "never there"]) == len(there)

    @rule()
    def compact(self) -> None:
        self.index.compact()
        assert len(self.index.verify().damages) == 0
        assert len(files_of(self.path)) == 1 + bool(self.documents)
        assert self.index.nbytes["kills"] == 0

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = VectorIndex.open(self.path)

    @precondition(lambda self: self.dims[1])
    @rule(seed=st.integers(0, 9), top_k=st.integers(1, 20))
    def search(self, seed: int, top_k: int) -> None:
        query = pooled_of("query", seed, self.dims[1])
        (found,) = self.index.search(query[None], top_k)
        exact = {
            name: np.float32(pooled_of(name, version, self.dims[1]).double() @ query.double())
            for name, (version, _) in self.documents.items()
        }
        expected = sorted(exact, key=lambda name: -exact[name])[:top_k]
        assert list(found.ids) == expected
        np.testing.assert_allclose(found.scores, [exact[name] for name in expected], rtol=1e-6)

    @precondition(lambda self: self.dims[0])
    @rule(names=SOME)
    def score(self, names: list[str]) -> None:
        queries = vectors_of({"q1": 1, "q2": 2}, self.dims[0], 0)
        there = [name for name in names if name in self.documents]
        everything = self.index.score(ENCODER, queries)
        assert everything.shape == (2, len(self.documents))
        at = [list(self.documents).index(name) for name in there]
        some = self.index.score(ENCODER, queries, there)
        np.testing.assert_allclose(some, everything[:, at], atol=1e-6)
        for name, column in zip(there, everything[:, at].T, strict=True):
            rows = tokens_of(name, self.documents[name][0], self.dims[0]).to(self._dtype).float()
            for query, score in zip(range(2), column, strict=True):
                own = queries.item(query)
                best = (own @ rows.T).amax(dim=1).sum() if len(rows) and len(own) else None
                if best is not None:
                    assert abs(float(best) - score) < 1e-5

    @invariant()
    def same(self) -> None:
        names = list(self.documents)
        assert self.index.ids == names
        assert len(self.index) == len(names)
        kept = kept_of(self.index, names[::-1])
        for name, (version, source) in self.documents.items():
            tokens = tokens_of(name, version, self.dims[0]) if self.dims[0] else torch.empty(0)
            pooled = pooled_of(name, version, self.dims[1]) if self.dims[1] else torch.empty(0)
            expected = (tokens.to(self._dtype), pooled)
            assert kept[name] == (_bytes(expected[0]), b"", _bytes(expected[1]))
            assert self.index.source(name) == source
        for name in set(NAMES) - set(names):
            assert name not in self.index
            with pytest.raises(UnknownDocumentError, match="no document"):
                self.index.source(name)
        sizes = sum(self.index.nbytes.values())
        assert sizes == sum(files_of(self.path).values())
        assert len(files_of(self.path)) < 25

    @property
    def _dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def test_an_index_is_a_dictionary_of_arrays() -> None:
    run_state_machine_as_test(
        Dictionary,
        settings=settings(
            max_examples=10,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
