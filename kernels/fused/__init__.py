"""Elementwise work of a decoder layer, each as one pass over memory."""

from . import plain
from .api import add_rms_norm, norm_rope, swiglu

__all__ = ["add_rms_norm", "norm_rope", "plain", "swiglu"]
