"""What is kept of a document, under which key, and where."""

from .entry import FeatureEntry, PrefixEntry, SuffixEntry
from .key import LAYOUT_VERSION, entry_key
from .memory import MemoryCache

__all__ = [
    "LAYOUT_VERSION",
    "FeatureEntry",
    "MemoryCache",
    "PrefixEntry",
    "SuffixEntry",
    "entry_key",
]
