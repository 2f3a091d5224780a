"""What an index takes, keeps and refuses, one call after the other."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minireranker.errors import (
    ConfigurationError,
    InputError,
    MissingDependencyError,
    UnknownDocumentError,
    VectorIndexError,
)
from minireranker.retrieval.vector_index import VectorIndex
from minireranker.retrieval.vectors import TokenVectors

SAMPLES = runpy.run_path(str(Path(__file__).with_name("index_documents.py")))
vectors_of, kept_of, files_of = (SAMPLES[n] for n in ("vectors_of", "kept_of", "files_of"))
ENCODER = SAMPLES["SumOfMaxima"]()
MADE: dict[str, Any] = {"identity": "abc", "encoder": "smart", "dim": 16, "pooled_dim": 8}


def of(*names: str) -> TokenVectors:
    return vectors_of(dict.fromkeys(names, 2))


@pytest.fixture
def index(tmp_path: Path) -> VectorIndex:
    made = VectorIndex.create(tmp_path / "index", **MADE)
    made.append(["a", "b", "c"], of("a", "b", "c"), [None, '{"page": 2}', None])
    return made


def test_it_is_there_when_opened_again(index: VectorIndex) -> None:
    with VectorIndex.open(str(index.path), identity="abc") as again:
        assert again.ids == ["a", "b", "c"]
        assert [again.source(name) for name in again.ids] == [None, '{"page": 2}', None]
        assert kept_of(again, ["c", "a"]) == kept_of(index, ["c", "a"])
        assert again.settings == index.settings
        assert (again.settings.encoder, again.settings.dtype) == ("smart", "bfloat16")


def test_sizes_are_those_of_the_files(index: VectorIndex) -> None:
    tokens = len(of("a", "b", "c").vectors)
    assert index.nbytes["tokens"] == tokens * 16 * 2
    assert index.nbytes["pooled"] == 3 * 8 * 4
    assert index.nbytes["sources"] == len('{"page": 2}')
    assert sum(index.nbytes.values()) == sum(files_of(index.path).values())


def test_a_snapshot_stays_until_refreshed(index: VectorIndex) -> None:
    kept = kept_of(index, ["a", "b", "c"])
    with VectorIndex.open(index.path) as other:
        other.delete(["a"])
        other.append(["b"], vectors_of({"b": 7}))
        other.compact()
    assert index.ids == ["a", "b", "c"]
    assert kept_of(index, ["a", "b", "c"]) == kept
    assert index.refresh()
    assert index.ids == ["c", "b"]
    assert kept_of(index, ["b"]) != {"b": kept["b"]}


@pytest.mark.parametrize(
    ("ids", "vectors", "sources", "what"),
    [
        (["x", "x"], of("x", "y"), None, "'x': twice"),
        ([""], of("x"), None, "a text is needed"),
        ([3], of("x"), None, "a text is needed"),
        (["\ud800"], of("x"), None, "lone surrogates"),
        (["x"], of("x"), ["\udfff"], "lone surrogates"),
        (["x"], of("x"), [""], "a JSON text"),
        (["x"], of("x", "y"), None, r"\(1, 2, 1\)"),
        (["x", "y"], vectors_of({"x": 2, "y": 2}, 17), None, "17 dimensions for an index of 16"),
        (["x"], vectors_of({"x": 0}, 16, 9), None, r"\(1, 9\) for an index of 8"),
        (["x"], vectors_of({"x": 0}, 16, 0), None, "for an index of 8"),
    ],
)
def test_what_cannot_be_kept_is_refused_as_a_whole(
    index: VectorIndex, ids: list[Any], vectors: TokenVectors, sources: Any, what: str
) -> None:
    before = files_of(index.path)
    with pytest.raises(InputError, match=what):
        index.append(ids, vectors, sources)
    assert index.ids == ["a", "b", "c"]
    assert files_of(index.path) == before


def test_one_text_is_no_list_of_ids(index: VectorIndex) -> None:
    """ "abc" would otherwise delete a, b and c."""
    calls = [
        index.delete,
        index.rows,
        lambda ids: index.score(ENCODER, of("q"), ids),
        lambda ids: index.append(ids, of("a", "b", "c")),
    ]
    for call in calls:
        with pytest.raises(InputError, match="'abc' is one text: give a list"):
            call("abc")
    for call in calls[:3]:
        with pytest.raises(InputError, match="document id 3: a text is needed"):
            call(["a", 3])
    assert index.ids == ["a", "b", "c"]


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_what_the_dtype_makes_infinite_is_refused(tmp_path: Path, dtype: str) -> None:
    """bfloat16 rounds the largest float32 to infinity; a scale times 127 may be."""
    huge = TokenVectors(torch.full((1, 16), 3.4e38), np.array([0, 1]), None, torch.ones(1, 8))
    rows, scales = torch.full((1, 16), 127, dtype=torch.int8), torch.tensor([3e38])
    scaled = TokenVectors(rows, np.array([0, 1]), scales, torch.ones(1, 8))
    with VectorIndex.create(tmp_path, **MADE, dtype=dtype) as index:
        for vectors in (huge, scaled) if dtype == "bfloat16" else (scaled,):
            with pytest.raises(InputError, match=f"'x', or numbers beyond {dtype}"):
                index.append(["x"], vectors)


@pytest.mark.parametrize("where", ["tokens", "pooled", "scales", "square"])
def test_what_is_not_finite_is_refused_by_name(index: VectorIndex, where: str) -> None:
    rows, pooled = torch.ones(4, 16), torch.ones(3, 8)
    scales = None
    if where == "tokens":
        rows[1, 3] = torch.nan
    elif where == "pooled":
        pooled[1, 0] = -torch.inf
    elif where == "square":
        pooled[1, 0] = 1e38
    else:
        rows, scales = rows.to(torch.int8), torch.tensor([1, torch.inf, 1, 1])
    vectors = TokenVectors(rows, np.array([0, 1, 2, 4]), scales, pooled)
    with pytest.raises(InputError, match="NaN or infinity in vectors of 'y', or"):
        index.append(["x", "y", "z"], vectors)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("dim", -1), ("dim", 2.0), ("pooled_dim", 10**9), ("dtype", "float8")),
        *(("ann", "tree"), ("identity", ""), ("identity", "\ud800"), ("encoder", None)),
    ],
)
def test_settings_nobody_can_have_are_refused(tmp_path: Path, field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=field):
        VectorIndex.create(tmp_path / "x", **{**MADE, field: value})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("ann", ["exact", "hnsw"])
def test_settings_that_leave_nothing_are_refused(tmp_path: Path, ann: str) -> None:
    sizes = {"dim": 0 if ann == "exact" else 3, "pooled_dim": 0}
    with pytest.raises(ConfigurationError, match="pooled_dim"):
        VectorIndex.create(tmp_path, **{**MADE, **sizes, "ann": ann})


def test_folders_of_something_else_are_refused(tmp_path: Path, index: VectorIndex) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigurationError, match=r"letter\.txt.*choose an empty"):
        VectorIndex.create(tmp_path / "full", **MADE)
    with pytest.raises(ConfigurationError, match=r"index already: use VectorIndex\.open"):
        VectorIndex.create(index.path, **MADE)
    with pytest.raises(VectorIndexError, match="cannot be made a folder"):
        VectorIndex.create(tmp_path / "full" / "letter.txt", **MADE)
    for path in (tmp_path / "full", tmp_path / "nowhere", tmp_path / "full" / "letter.txt"):
        with pytest.raises(VectorIndexError, match=r"make one with VectorIndex\.create"):
            VectorIndex.open(path)


def test_another_encoder_is_refused(index: VectorIndex) -> None:
    with pytest.raises(ConfigurationError, match=r"smart abc, not with xyz.*make a new index"):
        VectorIndex.open(index.path, identity="xyz")


def test_a_newer_format_is_refused(index: VectorIndex) -> None:
    path = index.path / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(VectorIndexError, match=r"format version 2.*install a newer"):
        VectorIndex.open(index.path)


@pytest.mark.parametrize(("dim", "pooled_dim"), [(0, 8), (16, 0)])
def test_one_kind_of_vector_is_enough(tmp_path: Path, dim: int, pooled_dim: int) -> None:
    with VectorIndex.create(tmp_path, **{**MADE, "dim": dim, "pooled_dim": pooled_dim}) as index:
        index.append(["a", "b"], vectors_of({"a": 0, "b": 0}, dim, pooled_dim))
        (rows,) = index.rows(["b", "a"])
        assert rows.pool.shape[1] == dim
        assert (rows.pooled is None) == (pooled_dim == 0)
        if not pooled_dim:
            with pytest.raises(ConfigurationError, match="no pooled vectors"):
                index.search(torch.ones(1, 8), 1)
        else:
            assert len(index.search(torch.ones(1, 8), 9)[0].ids) == 2


def test_a_document_may_have_no_token_vectors_at_all(tmp_path: Path) -> None:
    with VectorIndex.create(tmp_path, **MADE) as index:
        nothing = TokenVectors(torch.empty(0, 0), np.zeros(3, np.int64), None, torch.ones(2, 8))
        index.append(["a", "b"], nothing)
        assert (index.score(ENCODER, of("q")) == -np.inf).all()


def test_an_empty_index_answers(tmp_path: Path) -> None:
    with VectorIndex.create(tmp_path, **MADE) as index:
        index.append([], TokenVectors(torch.empty(0, 16), np.zeros(1, np.int64), None, None))
        assert (len(index), index.ids, "a" in index, index.delete(["a"])) == (0, [], False, 0)
        assert [found.ids for found in index.search(torch.ones(2, 8), 3)] == [(), ()]
        assert index.score(ENCODER, of("q", "r")).shape == (2, 0)
        index.compact()
        assert index.verify().sound


def test_unknown_documents_are_named(index: VectorIndex) -> None:
    for call in (index.rows, lambda ids: index.score(ENCODER, of("q"), ids)):
        with pytest.raises(UnknownDocumentError, match="'nope'"):
            call(["a", "nope"])
    assert 3 not in index


def test_closed_is_closed(index: VectorIndex) -> None:
    (rows,) = index.rows(["a", "b", "c"])
    before = rows.pool.clone()
    index.close()
    index.close()
    assert torch.equal(rows.pool, before)
    for call in (len, lambda index: index.ids, lambda index: index.delete(["a"])):
        with pytest.raises(VectorIndexError, match="is closed here"):
            call(index)


def test_without_usearch_only_the_graph_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usearch", None)
    with VectorIndex.create(tmp_path / "exact", **MADE) as index:
        index.append(["a"], of("a"))
        assert index.search(torch.ones(1, 8), 1)[0].ids == ("a",)
    with pytest.raises(MissingDependencyError, match=r'pip install "minireranker\[ann\]"'):
        VectorIndex.create(tmp_path / "graph", **MADE, ann="hnsw")
    assert not (tmp_path / "graph").exists()
    home = VectorIndex.__module__.rpartition(".")[0]
    for module in [sys.modules[name] for name in sys.modules if name.startswith(home)]:
        for value in vars(module).values():
            owner = getattr(value, "__module__", None) or getattr(value, "__name__", "")
            assert not owner.startswith("usearch"), "imported at its top"
