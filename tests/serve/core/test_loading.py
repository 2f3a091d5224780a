"""How a process loads its model, and with how many threads it computes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from minireranker.cache import Cache
from minireranker.errors import CheckpointError
from minireranker.models.synth import synthesize
from minireranker.serve.config import ServeConfig
from minireranker.serve.loading import load, use_threads


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of hidden width 512."""
    return synthesize(
        tmp_path_factory.mktemp("wide") / "model",
        text={"hidden_size": 512, "intermediate_size": 512, "num_hidden_layers": 2},
        vision={"out_hidden_size": 512},
    )


def test_a_narrow_model_gets_one_thread() -> None:
    assert use_threads("builtin", None) == 1 == torch.get_num_threads()


def test_a_wide_model_gets_all(wide: Path) -> None:
    assert use_threads(str(wide), None) == 2 == torch.get_num_threads()


@pytest.mark.parametrize("count", [1, 3])
def test_what_was_asked_for_counts(wide: Path, count: int) -> None:
    for model in ("builtin", str(wide)):
        assert use_threads(model, count) == count == torch.get_num_threads()


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        use_threads(str(tmp_path), None)


def test_what_was_loaded_ranks() -> None:
    with Cache() as cache:
        reranker = load(ServeConfig(model="builtin", dtype="float32"), cache)
        found = reranker.rank("a red circle", ["a red circle", "a blue square"], progress=False)
        assert {hit.index for hit in found} == {0, 1}


def test_what_cannot_be_loaded_is_raised_here(tmp_path: Path) -> None:
    with Cache() as cache, pytest.raises(CheckpointError):
        load(ServeConfig(model=str(tmp_path)), cache)
