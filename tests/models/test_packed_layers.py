"""Weights in a CPU's own order: the same bits, the same bytes, and only where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minireranker import Reranker
from minireranker.models.qwen3_vl.packed import PackedLinear, can_pack

CPU = torch.device("cpu")

needs_bf16 = pytest.mark.skipif(
    not can_pack(torch.bfloat16, CPU), reason="this CPU has no bfloat16 products"
)


@needs_bf16
@settings(max_examples=20, deadline=None)
@given(
    tiles=st.integers(1, 40),
    features=st.sampled_from([16, 64, 130, 256]),
    outputs=st.sampled_from([1, 48, 160, 352]),
)
@torch.inference_mode()
def test_a_product_has_the_bits_it_has_unpacked(tiles: int, features: int, outputs: int) -> None:
    random = torch.Generator().manual_seed(tiles)
    linear = nn.Linear(features, outputs, bias=False).bfloat16()
    x = torch.randn(16 * tiles, features, generator=random).bfloat16()
    assert torch.equal(PackedLinear(linear)(x), linear(x))


@needs_bf16
def test_scores_and_bytes_are_those_of_plain_layers(tiny: Path) -> None:
    plain, packed = (
        Reranker.from_pretrained(tiny, keep_ratio=1.0, dtype="bfloat16", fused=fused)
        for fused in (False, None)
    )
    texts = ["a red square", "a blue circle under it", "nothing"]
    assert packed.score("which?", texts).tolist() == plain.score("which?", texts).tolist()
    assert packed.state.model.nbytes == plain.state.model.nbytes
    assert packed.namespace.name == plain.namespace.name
    assert any(isinstance(m, PackedLinear) for m in packed.state.model.decoder.modules())
    assert not any(isinstance(m, PackedLinear) for m in plain.state.model.decoder.modules())


def test_other_dtypes_and_devices_keep_their_weights() -> None:
    assert not can_pack(torch.float32, CPU)
    assert not can_pack(torch.bfloat16, torch.device("cuda:0"))
