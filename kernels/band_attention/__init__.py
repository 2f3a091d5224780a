"""Attention of packed suffix rows over a shared header, their document's K/V, and themselves."""

from .api import BACKENDS, Extent, band_attention, choose_backend

__all__ = ["BACKENDS", "Extent", "band_attention", "choose_backend"]
