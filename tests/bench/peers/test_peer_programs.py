"""What runs inside a peer: standalone, and parts whose behaviour no score shows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.bench.peers import programs
from minireranker.bench.peers.programs.content import content_key, query_goes_first
from minireranker.bench.peers.programs.kept import Kept, PrefixStore, cache_of
from minireranker.bench.peers.programs.pixels import fitted
from minireranker.engine.pixels import resize_dims

HEADS, DIM = 2, 4


def kept(tokens: int, layers: int = 2) -> Kept:
    random = torch.Generator().manual_seed(tokens)
    shape = (1, HEADS, tokens, DIM)
    return Kept(
        tuple(
            (torch.rand(shape, generator=random), torch.rand(shape, generator=random))
            for _ in range(layers)
        ),
        tokens,
    )


def test_programs_import_nothing_of_ours() -> None:
    files = list(Path(programs.__file__).parent.glob("*.py"))
    assert len(files) > 9
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
                assert node.level <= 1
            assert not any(name.startswith("minireranker") for name in names), file


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), new=st.integers(1, 3))
def test_what_is_kept_comes_before_what_is_new_and_stays(lengths: list[int], new: int) -> None:
    rows = [kept(length) for length in lengths]
    before = [row.layers[1][0].clone() for row in rows]
    cache = cache_of(rows)
    assert cache.get_seq_length() == max(lengths)
    fresh = torch.rand(len(rows), HEADS, new, DIM)
    for _ in range(2):  # the second pair finds no trace of the first
        keys, values = cache.update(fresh, 2 * fresh, 1)
        for at, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            pad = max(lengths) - length
            assert not keys[at, :, :pad].any()
            assert torch.equal(keys[at, :, pad:-new], row.layers[1][0][0])
            assert torch.equal(values[at, :, pad:-new], row.layers[1][1][0])
            assert torch.equal(keys[at, :, -new:], fresh[at])
            assert torch.equal(values[at, :, -new:], 2 * fresh[at])
    for row, then in zip(rows, before, strict=True):
        assert torch.equal(row.layers[1][0], then)


def test_the_store_drops_what_was_longest_unused() -> None:
    size = kept(5).nbytes
    store = PrefixStore(2 * size)
    first = kept(5)
    store.put("a", first)
    store.put("b", kept(5))
    assert store.get("a") is first
    store.put("c", kept(5))
    assert store.get("b") is None
    assert store.get("a") is first
    assert store.held == 2 * size
    store.put("c", kept(5))
    assert store.held == 2 * size
    store.put("huge", kept(50))
    assert store.get("huge") is None
    assert store.get("a") is first


@given(st.integers(4, 4_000), st.integers(4, 4_000))
def test_pictures_get_the_size_that_ours_get(height: int, width: int) -> None:
    if max(height, width) > 200 * min(height, width):
        return
    expected = resize_dims(
        height, width, min_pixels=4_096, max_pixels=1_843_200, max_aspect_ratio=200.0
    )
    assert fitted(height, width, 4_096, 1_843_200) == expected


def test_a_file_is_known_by_what_it_was_when_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    path.write_bytes(b"1")
    key = content_key({"image": str(path)})
    assert key == content_key({"image": [str(path)]})
    assert key != content_key({"image": str(path), "text": "page"})
    assert key != content_key({"video": {"frames": [str(path)]}})
    path.write_bytes(b"22")
    assert key != content_key({"image": str(path)})


@pytest.mark.parametrize(
    ("query", "document", "first"),
    [
        ({"text": "a"}, {"image": "p"}, False),
        ({"image": "p"}, {"text": "a"}, True),
        ({"image": "p"}, {"image": "p"}, False),
        ({"text": "a"}, {"text": "a"}, False),
        ({"video": {"frames": ["p"]}}, {"text": "a"}, True),
    ],
)
def test_which_side_goes_first(
    query: dict[str, str], document: dict[str, str], first: bool
) -> None:
    assert query_goes_first(query, document) is first
