"""A decoder's bfloat16 weights in the order in which a CPU's products read them.

oneDNN otherwise brings a weight into that order in every product. The bits of a product are the
same (tests/models/test_packed_layers.py). What is packed cannot be trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .decoder import ROW_BLOCK, Decoder


class PackedLinear(nn.Module):
    """In place of a linear layer without bias."""

    def __init__(self, linear: nn.Linear) -> None:
        """Takes the weight over."""
        super().__init__()
        weight = linear.weight.detach()
        self.nbytes = weight.nbytes
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROW_BLOCK)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, features] -> [rows, outputs]."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, None, "none", [], "")
        return out


def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether weights of ``dtype`` have such an order on ``device``."""
    usable: bool = device.type == "cpu" and dtype is torch.bfloat16
    return usable and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def pack(decoder: Decoder) -> None:
    """Replace the products of every layer, one layer after the other, in place."""
    for index in range(len(decoder.layers)):
        decoder.layer(index).replace_products(PackedLinear)
