"""A decoder's products in eight bits; norms, rotation, attention and residuals stay as they are."""

from __future__ import annotations

from torch import Tensor, nn

from minireranker.kernels.quantised import Kind, QuantisedWeight, Rows, quantise_rows

from .decoder import Decoder, DecoderLayer, RMSNorm


class QuantisedLinear(nn.Module):
    """In place of a linear layer without bias."""

    def __init__(self, linear: nn.Linear, kind: Kind) -> None:
        """Takes the weight over."""
        super().__init__()
        self.quantised = QuantisedWeight(linear.weight.detach(), kind)
        self.nbytes = self.quantised.nbytes

    def forward(self, x: Tensor | Rows) -> Tensor:
        """[rows, features] -> [rows, outputs]."""
        rows = x if isinstance(x, Rows) else quantise_rows(x, self.quantised.kind)
        return self.quantised(rows)


class QuantisingNorm(nn.Module):
    """In place of a norm that linear layers follow: quantised once for all of them."""

    def __init__(self, norm: RMSNorm, kind: Kind) -> None:
        """Takes the norm over."""
        super().__init__()
        self.norm, self._kind = norm, kind

    def forward(self, x: Tensor) -> Rows:
        """[rows, features]."""
        return quantise_rows(self.norm(x), self._kind)


def quantise(decoder: Decoder, kind: Kind) -> None:
    """Replace the products of every layer, one layer after the other, in place."""
    for index in range(len(decoder.layers)):
        _quantise_layer(decoder.layer(index), kind)


def _quantise_layer(layer: DecoderLayer, kind: Kind) -> None:
    for name in ("input_layernorm", "post_attention_layernorm"):
        setattr(layer, name, QuantisingNorm(getattr(layer, name), kind))
    layer.replace_products(lambda linear: QuantisedLinear(linear, kind))
