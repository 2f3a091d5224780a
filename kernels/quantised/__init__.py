"""Products in eight bits: rows quantised as they come, weights once."""

from .rows import KINDS, Kind, Rows, quantise_rows
from .weight import QuantisedWeight, requirement

__all__ = ["KINDS", "Kind", "QuantisedWeight", "Rows", "quantise_rows", "requirement"]
