"""The decoder: the first layers of Qwen3-VL over packed tokens, attention left to the caller.

A layer is two halves, ``project`` (norm, Q, K, V, rotation) and ``finish`` (output projection,
MLP), with attention between them: who sees whom is the method's business, not the model's. Module
and parameter names are those of the published checkpoints (``language_model.*``).
Source: transformers' modeling_qwen3_vl (Qwen3VLTextModel).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minireranker.kernels.fused import plain
from minireranker.kernels.quantised import Rows

from .config import TextConfig
from .rope import NormRope

ROW_TILE = 16
"""Packed rows are padded to a multiple of this: MKL and oneDNN products then give a row the same
bits however many rows there are (measured; DECISIONS.md)."""

ROW_BLOCK = 512
"""Rows of attention's output that go through the rest of a layer at a time on a CPU: what lies
between its products, up to three times as wide as the rows, stays in the caches, and memory does
not grow with the batch. oneDNN compiles a product for every number of rows, and keeps it: here it
meets few."""


class Projected(NamedTuple):
    """Q [rows, heads, head_dim]; K and V [rows, kv_heads, head_dim]."""

    q: Tensor
    k: Tensor
    v: Tensor


Attend: TypeAlias = Callable[[int, Projected], Tensor]
"""Given the layer's index and projections, the attended heads [rows, heads, head_dim]."""


class RMSNorm(nn.Module):
    """Root-mean-square norm, statistics in float32."""

    def __init__(self, size: int, eps: float) -> None:
        """``size``: features of the last dimension."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Same shape and dtype as ``x`` [rows, features]."""
        return plain.rms_norm(x, self.weight, self.eps)


class Attention(nn.Module):
    """The projections around attention; GQA, with a norm on each head of Q and K."""

    def __init__(self, config: TextConfig) -> None:
        """Build with the shapes of ``config``."""
        super().__init__()
        self.head_dim = config.head_dim
        width, kv_width = (
            heads * config.head_dim
            for heads in (config.num_attention_heads, config.num_key_value_heads)
        )
        self.q_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def queries(self, x: Tensor | Rows, rope: NormRope) -> Tensor:
        """Normed and rotated queries [rows, heads, head_dim]."""
        return rope(self.q_proj(x).view(x.shape[0], -1, self.head_dim), self.q_norm.weight)

    def keys_values(self, x: Tensor | Rows, rope: NormRope) -> tuple[Tensor, Tensor]:
        """Normed and rotated keys, and values, [rows, kv_heads, head_dim]."""
        keys = rope(self.k_proj(x).view(x.shape[0], -1, self.head_dim), self.k_norm.weight)
        return keys, self.v_proj(x).view(x.shape[0], -1, self.head_dim)


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: TextConfig) -> None:
        """Build with the shapes of ``config``."""
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor | Rows) -> Tensor:
        """[rows, hidden] -> [rows, hidden]."""
        gate = F.silu(self.gate_proj(x), inplace=not torch.is_grad_enabled())
        out: Tensor = self.down_proj(gate.mul_(self.up_proj(x)))
        return out


class DecoderLayer(nn.Module):
    """One layer, in two halves around attention."""

    def __init__(self, config: TextConfig) -> None:
        """Build with the shapes of ``config``."""
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def project(self, x: Tensor, rope: NormRope) -> Projected:
        """Q, K and V of ``x`` [rows, hidden]."""
        normed = self.input_layernorm(x)
        return Projected(
            self.self_attn.queries(normed, rope), *self.self_attn.keys_values(normed, rope)
        )

    def project_some(self, x: Tensor, rope: NormRope, rows: Tensor) -> Projected:
        """K and V of every row, Q of those in ``rows`` (int64) only, padded to the row tile."""
        normed = self.input_layernorm(x)
        few = pad_rows(x[rows])
        turned = rope.rows(F.pad(rows, (0, len(few) - len(rows))))
        q = self.self_attn.queries(self.input_layernorm(few), turned)
        return Projected(q, *self.self_attn.keys_values(normed, rope))

    def keys_values(self, x: Tensor, rope: NormRope) -> tuple[Tensor, Tensor]:
        """Only K and V: all that is left to do in the last layer a prefix takes part in."""
        return self.self_attn.keys_values(self.input_layernorm(x), rope)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The layer's output from its input and the attended heads."""
        if torch.is_grad_enabled() or x.device.type != "cpu":
            x = self.self_attn.o_proj(attended.flatten(1)).add_(x)
            whole: Tensor = self.mlp(self.post_attention_layernorm(x)).add_(x)
            return whole
        out = torch.empty_like(x)
        for start in range(0, len(x), ROW_BLOCK):
            rows = slice(start, start + ROW_BLOCK)
            part = out[rows]
            torch.add(self.self_attn.o_proj(attended[rows].flatten(1)), x[rows], out=part)
            part.add_(self.mlp(self.post_attention_layernorm(part)))
        return out

    def replace_products(self, make: Callable[[nn.Linear], nn.Module]) -> None:
        """Put in the place of every linear layer what ``make`` makes of it."""
        for room in (self.self_attn, self.mlp):
            for name, child in list(room.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(room, name, make(child))


class Decoder(nn.Module):
    """Embedding, the first ``layers`` decoder layers, and the final norm."""

    def __init__(self, config: TextConfig, layers: int) -> None:
        """``layers``: how many exist here; those at and beyond the exit are never built."""
        super().__init__()
        self.config = config
        # Given a table, Embedding skips its random init, which is slow even on the meta device.
        table = torch.empty(config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding(table.shape[0], table.shape[1], _weight=table)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def layer(self, index: int) -> DecoderLayer:
        """The layer at ``index``."""
        layer = self.layers[index]
        assert isinstance(layer, DecoderLayer), "layers holds decoder layers only"
        return layer

    def rope(self, positions: Tensor) -> NormRope:
        """Rotation for tokens at M-RoPE ``positions``, int64 [3, rows]."""
        return NormRope.of(positions, self.config, self.norm.weight.dtype)

    def run(
        self,
        x: Tensor,
        rope: NormRope,
        layers: range,
        attend: Attend,
        injections: Sequence[Tensor | None] = (),
    ) -> Tensor:
        """Hidden states after ``layers``, [rows, hidden].

        ``injections[l]`` is added to the output of layer l (DeepStack), [rows, hidden] or None.
        """
        for index in layers:
            x = self.layer(index).finish(x, attend(index, self.layer(index).project(x, rope)))
            if index < len(injections):
                added = injections[index]
                x = x if added is None else x + added
        return x


def pad_rows(x: Tensor) -> Tensor:
    """Zero rows appended up to ``padded(len(x))``."""
    missing = padded(len(x)) - len(x)
    return F.pad(x, (0, 0) * (x.ndim - 1) + (0, missing)) if missing else x


def padded(rows: int) -> int:
    """So many, up to a multiple of ROW_TILE; of four times that where the share of it is small."""
    tile = ROW_TILE if rows <= ROW_BLOCK else 4 * ROW_TILE
    return -(-rows // tile) * tile
