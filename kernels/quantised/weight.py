"""A weight in eight bits, a scale for each output: multiplied by quantised rows.

int8 runs through oneDNN on CPUs, fp8 through torch's scaled product on CUDA devices from compute
capability 8.9 on. Sums of int8 products are exact, and every output is rounded to the rows' dtype
twice: once unscaled, once scaled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from minireranker.errors import ConfigurationError

from .rows import Kind, Rows, quantise_rows

_FP8_CAPABILITY = (8, 9)
_ROWS_EXPECTED = 4_096
"""What oneDNN packs a weight for; any number of rows may come."""


def requirement(kind: Kind, device: torch.device) -> str | None:
    """Why ``kind`` cannot be used on ``device``, and what to do; None where it can."""
    if kind == "int8":
        if device.type != "cpu":
            return f"int8 products run on CPUs, not on {device}; take bfloat16 or fp8"
        if not torch._C._has_mkldnn:
            return "int8 products need oneDNN, which this torch has not; take bfloat16"
        return None
    if device.type != "cuda":
        return f"fp8 products run on CUDA devices, not on {device}; take bfloat16 or int8"
    if torch.cuda.get_device_capability(device) < _FP8_CAPABILITY:
        return f"{torch.cuda.get_device_name(device)} has no fp8 products; take bfloat16"
    return None


class QuantisedWeight:
    """``weight`` [outputs, features] of a linear layer without bias."""

    def __init__(self, weight: Tensor, kind: Kind) -> None:
        """Quantise it by rows. Raises ConfigurationError for a weight that is not finite."""
        rows = quantise_rows(weight, kind)
        if not bool(rows.scale.isfinite().all()):
            raise ConfigurationError(
                f"a weight {tuple(weight.shape)} is not finite and cannot be quantised; check the "
                "checkpoint, or take bfloat16"
            )
        self.kind, self.shape = kind, weight.shape
        self.nbytes = rows.numbers.nbytes + rows.scale.nbytes
        self._scale = rows.scale.view(-1)
        self._numbers: Any = rows.numbers
        if kind == "int8":
            shape = [_ROWS_EXPECTED, weight.shape[1]]
            self._numbers = torch.ops.onednn.qlinear_prepack(rows.numbers, shape)
            self._zeros = torch.zeros(len(weight), dtype=torch.int64)

    def __call__(self, rows: Rows) -> Tensor:
        """[rows, outputs] in the rows' dtype."""
        return self._int8(rows) if self.kind == "int8" else self._fp8(rows)

    def _int8(self, rows: Rows) -> Tensor:
        # Signed rows go through oneDNN's reference code, a thousand times slower than shifted ones.
        shifted = rows.numbers.view(torch.uint8).bitwise_xor(128)
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(shifted, 1.0, 128, self._numbers, self._scale, self._zeros),
            *(None, 1.0, 0, rows.dtype, "none", [], ""),
        )
        return out.mul_(rows.scale.to(rows.dtype))

    def _fp8(self, rows: Rows) -> Tensor:
        out: Tensor = torch._scaled_mm(
            rows.numbers,
            self._numbers.t(),
            rows.scale,
            self._scale[None],
            out_dtype=rows.dtype,
        )
        return out
