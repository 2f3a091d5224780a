"""Random weights that keep a deep model alive: the values of one tensor at a time.

Every product keeps the scale of its input (standard deviation 1 / sqrt(fan in)), branches that add
to a residual stream are damped by sqrt(2 x depth), norms are near one. Attention is made sharper
than chance (``SHARPNESS``), so that a score depends on what the tokens are and not on their mean.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

from .layout import EMBEDDING, HEAD
from .qwen3_vl.config import ModelConfig

if TYPE_CHECKING:
    import torch

SHARPNESS = 1.5
"""Gain of the norms on queries and keys: attention logits have its square as deviation."""

_CHUNK = 1 << 22  # values drawn at once in float32: the peak of memory is the tensor plus 16 MiB


def random_tensor(
    name: str, shape: tuple[int, ...], config: ModelConfig, seed: int
) -> torch.Tensor:
    """The tensor of that canonical name, in ``config.dtype``; depends on name and seed alone."""
    import torch

    mean, deviation = _distribution(name, shape, config)
    key = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
    out = torch.empty(math.prod(shape), dtype=getattr(torch, config.dtype))
    drawn = torch.empty(min(_CHUNK, out.numel()))
    for start in range(0, out.numel(), _CHUNK):
        values = drawn[: out.numel() - start]
        out[start : start + _CHUNK] = values.normal_(mean, deviation, generator=generator)
    return out.view(shape)


def _distribution(name: str, shape: tuple[int, ...], config: ModelConfig) -> tuple[float, float]:
    """Mean and standard deviation of a tensor's values."""
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        return SHARPNESS, 0.05
    if name.endswith("bias"):
        return 0.0, 0.02
    if len(shape) == 1:
        return 1.0, 0.05
    if name in (EMBEDDING, HEAD):
        return 0.0, config.text.hidden_size**-0.5
    if name == "vision.pos_embed.weight":
        return 0.0, 0.3
    fan_in = math.prod(shape[1:])
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        fan_in *= 2 * config.text.num_hidden_layers
    elif name.startswith("vision.blocks.") and name.endswith(("attn.proj.weight", "fc2.weight")):
        fan_in *= 2 * config.vision.depth
    return 0.0, fan_in**-0.5
