"""An entry carries which visual tokens it was made from, through the file and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from minireranker.cache import Cache, KeptTokens, Namespace, PrefixEntry


def entry() -> PrefixEntry:
    k, v = torch.randn(2, 1, 5, 2, 8).unbind(0)
    visuals = [
        KeptTokens((1, 2, 3), torch.tensor([0, 4, 5], dtype=torch.int32)),
        KeptTokens((2, 1, 1), torch.tensor([1], dtype=torch.int32)),
    ]
    return PrefixEntry.encoded("int8", k, v, span=9, tokens=5, visuals=visuals)


def test_it_outlives_the_process(tmp_path: Path) -> None:
    key = Namespace({"a": "b"}, "", "test").key({"document": 1})
    with Cache(tmp_path) as cache:
        cache.register(Namespace({"a": "b"}, "", "test"))
        cache.put(key, entry())
        cache.flush()
    with Cache(tmp_path) as cache:
        found = cache.get(key, PrefixEntry)
    assert found is not None
    assert [visual.grid for visual in found.visuals] == [(1, 2, 3), (2, 1, 1)]
    assert [visual.indices.tolist() for visual in found.visuals] == [[0, 4, 5], [1]]
    assert len(found.layer(0)[0]) == 5


@pytest.mark.parametrize(
    ("grid", "indices"),
    [
        ((1, 1, 2), torch.arange(3, dtype=torch.int32)),
        ((1, 1, 2), torch.arange(2)),
        ((1, 1, 2), torch.zeros(1, 1, dtype=torch.int32)),
        ((0, 1, 2), torch.zeros(0, dtype=torch.int32)),
        ((-1, -1, 2), torch.zeros(1, dtype=torch.int32)),
    ],
)
def test_tokens_of_no_grid_are_refused(grid: tuple[int, int, int], indices: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"grid|tokens kept"):
        KeptTokens(grid, indices)
