"""A model whose right exit and band are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from minireranker import Reranker

from .known_answers import load


@pytest.fixture(scope="session")
def windowed(tiny: Path) -> Reranker:
    """Tokens mix in layers 2 and 3 only, and nothing at all happens from layer 5 on."""
    reranker = load(tiny)
    decoder = reranker.state.model.decoder
    with torch.no_grad():
        for index in range(len(decoder.layers)):
            layer = decoder.layer(index)
            layer.self_attn.o_proj.weight *= 3.0 if index in (2, 3) else 0.0
            if index >= 5:
                layer.mlp.down_proj.weight *= 0.0
    return reranker
