"""``dtype="int8"``: what it shares with the model it stands for, and what it must not share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minireranker import Cache, Reranker
from minireranker.errors import ConfigurationError


@pytest.fixture(scope="module")
def pictures(picture: Callable[..., Any]) -> list[Any]:
    return [picture(96, 96, seed) for seed in range(8)]


def load(tiny: Path, dtype: str, **others: Any) -> Reranker:
    return Reranker.from_pretrained(tiny, keep_ratio=1.0, dtype=dtype, **others)


def test_its_products_and_nothing_else_are_in_eight_bits(tiny: Path, pictures: list[Any]) -> None:
    eight, sixteen = load(tiny, "int8"), load(tiny, "bfloat16")
    assert "int8 over" in eight.describe()
    assert eight.state.model.nbytes < sixteen.state.model.nbytes
    scores = [reranker.score(["red"], pictures)[0] for reranker in (eight, sixteen)]
    assert np.isfinite(scores).all()
    assert not np.array_equal(*scores)


def test_no_entry_is_shared_with_another_precision(
    tiny: Path, pictures: list[Any], tmp_path: Path
) -> None:
    with Cache(tmp_path) as cache:
        for dtype in ("bfloat16", "int8"):
            reranker = load(tiny, dtype, cache=cache)
            assert reranker.rank("red", pictures).work.cache_misses == len(pictures)
            assert reranker.rank("red", pictures).work.cache_misses == 0


def test_it_is_refused_where_it_cannot_run(tiny: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"dtype 'fp8'.*CUDA.*take bfloat16 or int8"):
        load(tiny, "fp8")
