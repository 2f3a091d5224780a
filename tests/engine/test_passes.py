"""Neighbours together while there is room: no pass is larger, none could take one more."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from minireranker import Reranker
from minireranker.engine.passes import passes


@given(sizes=st.lists(st.integers(0, 12)), most=st.integers(1, 20))
def test_passes_are_as_full_as_neighbours_allow(sizes: list[int], most: int) -> None:
    found = passes(iter(sizes), lambda size: size, most)
    assert [size for group in found for size in group] == sizes
    for group in found:
        assert group
        assert sum(group) <= most or len(group) == 1
    for group, following in pairwise(found):
        assert sum(group) + following[0] > most


class Embedded(TorchDispatchMode):
    """Rows of the largest pass."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten.embedding:
            self.most = max(self.most, len(out))
        return out


def test_second_segments_are_read_in_passes_that_fit(
    tiny: Path, picture: Callable[..., Any]
) -> None:
    """Text documents stand behind a picture that is asked with: five of about 100 tokens."""
    reranker = Reranker.from_pretrained(
        tiny, profile="mini", dtype="float32", keep_ratio=1.0, batch_tokens=250
    )
    documents = [f"{at} " + "word " * 95 for at in range(5)]
    with Embedded() as embedded:
        scores = reranker.score({"image": picture(64, 64)}, documents)
    assert torch.from_numpy(scores).isfinite().all()
    assert 150 < embedded.most <= 250
