"""Rotary positions: the decoder's interleaved M-RoPE and the vision tower's 2-D rotary.

Source: transformers' modeling_qwen3_vl (Qwen3VLTextRotaryEmbedding, Qwen3VLVisionRotaryEmbedding).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from minireranker.kernels.fused import plain
from minireranker.kernels.sending import sent

from .config import TextConfig


def mrope_angles(positions: Tensor, config: TextConfig) -> Tensor:
    """Angles of each token, float32 [tokens, head_dim / 2].

    ``positions`` is int64 [3, tokens]: temporal, height, width. Frequency j belongs to height if
    j % 3 == 1, to width if j % 3 == 2 (both below 3 x their section), to time otherwise.
    """
    half = config.head_dim // 2
    axis = torch.zeros(half, dtype=torch.int64)
    for which in (1, 2):
        axis[which : 3 * config.mrope_section[which] : 3] = which
    exponent = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    frequency = sent(1.0 / config.rope_theta**exponent, positions.device)
    return positions[sent(axis, positions.device)].T.to(torch.float32) * frequency


@dataclass(frozen=True)
class NormRope:
    """RMSNorm over the head dimension followed by rotation, for given tokens."""

    cos: Tensor
    """[tokens, head_dim / 2], float32 or wider."""
    sin: Tensor
    eps: float

    @classmethod
    def of(cls, positions: Tensor, config: TextConfig, dtype: torch.dtype) -> NormRope:
        """For heads of ``dtype`` of tokens at M-RoPE ``positions``, int64 [3, tokens]."""
        angles = mrope_angles(positions, config).to(torch.promote_types(dtype, torch.float32))
        return cls(angles.cos(), angles.sin(), config.rms_norm_eps)

    def rows(self, rows: Tensor | slice) -> NormRope:
        """The same for a selection of tokens, int64 [n]; of a slice, views."""
        return dataclasses.replace(self, cos=self.cos[rows], sin=self.sin[rows])

    def __call__(self, heads: Tensor, weight: Tensor) -> Tensor:
        """Norm and rotate ``heads`` [tokens, heads, head_dim] with ``weight`` [head_dim]."""
        return plain.norm_rope(heads, weight, self.cos, self.sin, self.eps)


def vision_angles(rows: Tensor, columns: Tensor, head_dim: int) -> Tensor:
    """Angles of vision patches, float32 [patches, head_dim / 2]: rows first, then columns.

    ``rows``, ``columns``: int64 [patches], the patch's place in its image's grid.
    """
    exponent = torch.arange(0, head_dim // 2, 2, dtype=torch.float32) / (head_dim // 2)
    frequency = sent(1.0 / 10_000.0**exponent, rows.device)
    return torch.cat((rows[:, None] * frequency, columns[:, None] * frequency), dim=-1)


def rotate_vision(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate ``heads`` [patches, heads, head_dim] by ``cos``, ``sin`` [patches, 1, head_dim / 2].

    In float32 and back, as the published tower does.
    """
    wide = heads.to(cos.dtype)
    low, high = wide.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1).to(heads.dtype)
