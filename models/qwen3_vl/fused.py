"""A decoder layer for GPUs: packed weights, and one pass between two products.

The same numbers in another order of rounding: what ``DecoderLayer`` computes, with Q, K and V from
one product and gate and up from another, everything elementwise fused (``kernels/fused``), and the
last sum left to the last product. Its weights cannot be trained.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minireranker.kernels.fused import add_rms_norm, norm_rope, swiglu

from .decoder import Decoder, DecoderLayer, Projected, pad_rows
from .rope import NormRope


class FusedLayer(DecoderLayer):
    """In place of a ``DecoderLayer``, whose weights it takes over."""

    def __init__(self, layer: DecoderLayer) -> None:
        """Pack the weights of ``layer``; both are in memory until it is let go."""
        nn.Module.__init__(self)
        attention, mlp = layer.self_attn, layer.mlp
        self.head_dim, self.eps = attention.head_dim, layer.input_layernorm.eps
        self.heads, self.kv_heads = (
            len(product.weight) // self.head_dim for product in (attention.q_proj, attention.k_proj)
        )
        products = attention.q_proj, attention.k_proj, attention.v_proj
        self.qkv = _frozen(torch.cat([product.weight for product in products]))
        self.output = _frozen(attention.o_proj.weight)
        self.gate_up = _frozen(torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]))
        self.down = _frozen(mlp.down_proj.weight)
        self.q_norm, self.k_norm = attention.q_norm, attention.k_norm
        self.before, self.between = layer.input_layernorm, layer.post_attention_layernorm

    def project(self, x: Tensor, rope: NormRope) -> Projected:
        """Q, K and V of ``x`` [rows, hidden]; V is a view."""
        heads = self._heads(F.linear(self.before(x), self.qkv))
        q, k, v = torch.split(heads, [self.heads, self.kv_heads, self.kv_heads], 1)
        return Projected(self._turned(q, self.q_norm, rope), self._turned(k, self.k_norm, rope), v)

    def project_some(self, x: Tensor, rope: NormRope, rows: Tensor) -> Projected:
        """K and V of every row, Q of those in ``rows`` (int64) only, padded to the row tile."""
        few = pad_rows(x[rows])
        turned = rope.rows(F.pad(rows, (0, len(few) - len(rows))))
        weight = self.qkv[: self.heads * self.head_dim]
        q = self._heads(F.linear(self.before(few), weight))
        return Projected(self._turned(q, self.q_norm, turned), *self.keys_values(x, rope))

    def keys_values(self, x: Tensor, rope: NormRope) -> tuple[Tensor, Tensor]:
        """Only K and V."""
        weight = self.qkv[self.heads * self.head_dim :]
        k, v = self._heads(F.linear(self.before(x), weight)).chunk(2, 1)
        return self._turned(k, self.k_norm, rope), v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The layer's output from its input and the attended heads."""
        added = F.linear(attended.flatten(1), self.output)
        x, normed = add_rms_norm(x, added, self.between.weight, self.eps)
        return torch.addmm(x, swiglu(F.linear(normed, self.gate_up)), self.down.t())

    def _heads(self, rows: Tensor) -> Tensor:
        return rows.view(len(rows), -1, self.head_dim)

    def _turned(self, heads: Tensor, norm: nn.Module, rope: NormRope) -> Tensor:
        weight = norm.get_parameter("weight")
        return norm_rope(heads, weight, rope.cos, rope.sin, rope.eps)


def fuse(decoder: Decoder) -> None:
    """Replace every layer, one after the other, in place."""
    for index in range(len(decoder.layers)):
        decoder.layers[index] = FusedLayer(decoder.layer(index))


def _frozen(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach(), requires_grad=False)
