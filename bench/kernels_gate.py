"""Whether a backend of band attention may be timed: its error on the call itself.

Its output has to be as exact as that of two plain matrix products in the dtype ("packed"): at most
twice their error against the reference in float64, plus one rounding of the largest number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from minireranker.errors import ConfigurationError

from .kernels_calls import Rows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Gate"]

_SAMPLE = 24
"""Rows compared, about, from all over the call."""


@dataclass(frozen=True)
class Gate:
    """Which backends may be timed on a call."""

    allowed: float
    """The largest error."""
    errors: dict[str, float]
    """Of those that are exact enough."""
    refused: dict[str, str]
    """Why others do not take the call."""
    wrong: dict[str, str]
    """By how much others are off."""

    @classmethod
    def of(cls, rows: Rows, names: list[str]) -> Gate:
        """Each computes the whole call, as it is timed; a sample of its rows is compared."""
        import torch

        step = max(1, len(rows.q) // _SAMPLE)
        sample = rows.every(step)
        exact = sample.wide().attend("reference")
        plain = float((sample.attend("packed").double() - exact).abs().max())
        rounding = torch.finfo(rows.q.dtype).eps * float(exact.abs().max())
        gate = cls(2 * plain + rounding, {}, {}, {})
        for name in names:
            try:
                out = rows.attend(name)
            except ConfigurationError as error:
                gate.refused[name] = str(error)
                continue
            gate.judge(name, float((out[::step].double() - exact).abs().max()), out)
        return gate

    def judge(self, name: str, error: float, out: Tensor) -> None:
        """Put a backend where it belongs."""
        if error <= self.allowed and bool(out.isfinite().all()):
            self.errors[name] = error
            return
        self.wrong[name] = (
            f"off by {error:.1e}, more than the {self.allowed:.1e} allowed, or not finite; this "
            "is a bug to report"
        )
