"""What several tests of the cache share."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Shape = tuple[int, int, int, int]
KeysValues = tuple[Tensor, Tensor]


def _draw(shape: Shape, dtype: torch.dtype = torch.float32, seed: int = 0) -> KeysValues:
    layers, _, heads, dim = shape
    generator = torch.Generator().manual_seed(seed)
    low, high = math.log(0.1), math.log(10)
    size = torch.rand(layers, 1, heads, dim, generator=generator) * (high - low) + low
    mean = torch.randn(layers, 1, heads, dim, generator=generator)
    k = (torch.randn(shape, generator=generator) + mean) * size.exp()
    return k.to(dtype), torch.randn(shape, generator=generator).to(dtype)


@pytest.fixture(scope="session")
def keys_values() -> Callable[..., KeysValues]:
    """K and V like a model's: ``keys_values((layers, tokens, heads, dim), dtype, seed=0)``.

    Channels of K are 0.1 to 10 in size and have a mean of up to a few sigmas; V is normal.
    """
    return _draw
