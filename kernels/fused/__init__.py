"""Elementwise work of a decoder layer, each as one pass over memory."""

from .api import add_rms_norm, norm_rope, swiglu

__all__ = ["add_rms_norm", "norm_rope", "swiglu"]
