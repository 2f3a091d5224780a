"""The loaded parts a reranker or embedder needs: tower, decoder layers, yes minus no."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from minireranker.kernels.quantised import Kind

from .config import ModelConfig
from .decoder import Decoder
from .packed import PackedLinear
from .quantised import QuantisedLinear
from .vision import VisionTower


@dataclass(frozen=True, eq=False)
class Qwen3VL:
    """A loaded model. ``head`` is ``w_yes - w_no``, float32 [hidden] (method, section 2).

    An embedding model has no head.
    """

    config: ModelConfig
    vision: VisionTower
    decoder: Decoder
    head: Tensor | None = None
    products: Kind | None = None
    """The decoder's, where they are in eight bits."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.decoder.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        return self.decoder.norm.weight.dtype

    @property
    def precision(self) -> str:
        """The dtype's name, with the eight bits of its products if there are any."""
        name = str(self.dtype).removeprefix("torch.")
        return f"{self.products} over {name}" if self.products else name

    @property
    def nbytes(self) -> int:
        """Bytes of all weights."""
        modules = (self.vision, self.decoder)
        kept = sum(p.nbytes for module in modules for p in module.parameters())
        # In another form than the checkpoint's, weights are no parameters any more.
        others = QuantisedLinear, PackedLinear
        return kept + sum(m.nbytes for m in self.decoder.modules() if isinstance(m, others))

    def score(self, hidden: Tensor) -> Tensor:
        """Raw logit differences, float32 [rows], of last-token states [rows, hidden].

        Final norm and head in float32 (or wider): scores that differ little must not tie.
        """
        assert self.head is not None, "an embedding model scores nothing"
        wide = torch.promote_types(hidden.dtype, torch.float32)
        x = hidden.to(wide)
        x = x * (x.square().mean(-1, keepdim=True) + self.decoder.norm.eps).rsqrt()
        weight = self.decoder.norm.weight.to(wide) * self.head.to(wide)
        return (x * weight).sum(-1).to(wide)
