"""The vision tower against transformers', and a visual's features against its company."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from minireranker import Reranker
from minireranker.bench.oracle import FullSequenceModel
from minireranker.models.qwen3_vl import VisionConfig, VisionFeatures, VisionTower

Grid = tuple[int, int, int]
ODD = VisionConfig(
    depth=5,
    hidden_size=72,
    intermediate_size=116,
    num_heads=3,
    in_channels=3,
    patch_size=16,
    temporal_patch_size=2,
    spatial_merge_size=2,
    out_hidden_size=40,
    num_position_embeddings=25,
    deepstack_visual_indexes=(1, 4),
    hidden_act="gelu_pytorch_tanh",
)
"""Nothing in it is a power of two, and the last block is also a DeepStack level."""

even = st.integers(1, 8).map(lambda half: 2 * half)
grids_drawn = st.lists(st.tuples(st.integers(1, 3), even, even), min_size=1, max_size=4)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def pixels(grids: Sequence[Grid], seed: int = 0) -> Tensor:
    """Patches [sum t*h*w, 1536] of visuals with those grids, the same for the same grid."""
    parts = []
    for grid in grids:
        random = torch.Generator().manual_seed(hash((seed, *grid)) % 2**31)
        parts.append(torch.randn(grid[0] * grid[1] * grid[2], 1536, generator=random))
    return torch.cat(parts)


def assert_features_equal(ours: VisionTower, theirs: Any, grids: Sequence[Grid]) -> None:
    found = ours(pixels(grids), grids)
    expected = theirs(pixels(grids), grid_thw=torch.tensor(grids))
    levels = list(expected.deepstack_features)
    assert len(found.deepstack) == len(levels)
    for mine, published in zip(
        (found.merged, *found.deepstack), (expected.pooler_output, *levels), strict=True
    ):
        assert mine.shape == published.shape
        assert (mine - published).abs().max() <= 1e-5 * published.abs().max()


@settings(max_examples=10, deadline=None)
@given(grids=grids_drawn)
def test_features_are_those_of_transformers(
    dense: Reranker, oracle: FullSequenceModel, grids: list[Grid]
) -> None:
    with torch.no_grad():
        assert_features_equal(dense.state.model.vision, oracle.model.model.visual, grids)


@pytest.mark.parametrize(
    "grids",
    [
        [(1, 2, 2)],
        [(1, 2, 80), (1, 80, 2)],
        [(2, 6, 4), (1, 10, 14), (4, 2, 2), (1, 8, 8)],
    ],
)
def test_features_of_another_geometry_are_those_of_transformers(grids: list[Grid]) -> None:
    torch.manual_seed(0)
    settings = dataclasses.asdict(ODD)
    settings["deepstack_visual_indexes"] = list(ODD.deepstack_visual_indexes)
    theirs = Qwen3VLVisionModel(Qwen3VLVisionConfig(**settings)).eval()
    for parameter in theirs.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.2)
    ours = VisionTower(ODD).eval()
    ours.load_state_dict(theirs.state_dict())
    assert_features_equal(ours, theirs, grids)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def tower(request: pytest.FixtureRequest, tiny: Path) -> VisionTower:
    return Reranker.from_pretrained(tiny, profile="dense", dtype=request.param).state.model.vision


def encoded(tower: VisionTower, grids: Sequence[Grid]) -> list[list[Tensor]]:
    """Merged features and DeepStack maps of each visual."""
    found: VisionFeatures = tower(pixels(grids).to(tower.pos_embed.weight.dtype), grids)
    sizes = [t * h * w // 4 for t, h, w in grids]
    whole = (found.merged, *found.deepstack)
    return [list(parts) for parts in zip(*(part.split(sizes) for part in whole), strict=True)]


def test_features_do_not_depend_on_what_a_visual_is_packed_with(tower: VisionTower) -> None:
    grids: list[Grid] = [(1, 2, 2), (1, 6, 10), (3, 4, 6), (1, 10, 14)]
    alone = {grid: encoded(tower, [grid])[0] for grid in grids}
    for company in [*itertools.permutations(grids, 2), grids, grids[::-1], grids[:1] * 37]:
        for grid, features in zip(company, encoded(tower, company), strict=True):
            for found, expected in zip(features, alone[grid], strict=True):
                assert torch.equal(found, expected), f"{grid} among {company}"


def test_frames_of_a_video_do_not_see_each_other(tower: VisionTower) -> None:
    """What lets a long video go through the tower in pieces."""
    frames = pixels([(3, 4, 6)]).to(tower.pos_embed.weight.dtype)
    whole = tower(frames, [(3, 4, 6)])
    pieces = [tower(part, [(1, 4, 6)]) for part in frames.split(24)]
    assert torch.equal(whole.merged, torch.cat([piece.merged for piece in pieces]))
    for level, found in enumerate(whole.deepstack):
        assert torch.equal(found, torch.cat([piece.deepstack[level] for piece in pieces]))


def test_pixels_are_not_mutated(tower: VisionTower) -> None:
    given_in = pixels([(1, 8, 8)]).to(tower.pos_embed.weight.dtype)
    before = given_in.clone()
    tower(given_in, [(1, 8, 8)])
    assert torch.equal(given_in, before)
