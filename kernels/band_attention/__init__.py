"""Attention of packed suffix rows over a shared header, their document's K/V, and themselves."""

from .api import BACKENDS, band_attention, choose_backend, reads_quantised, requirement
from .call import Call, Extent

__all__ = [
    "BACKENDS",
    "Call",
    "Extent",
    "band_attention",
    "choose_backend",
    "reads_quantised",
    "requirement",
]
