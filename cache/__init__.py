"""What is kept of a document, under which key, and where."""

from .catalog import Catalog, ContentRow, DocumentRow
from .codec import CODECS
from .entry import ChoiceEntry, Entry, FeatureEntry, KeptTokens, PrefixEntry, SuffixEntry
from .flight import Claim
from .key import KEY_PATTERN, LAYOUT_VERSION, Namespace, entry_key
from .memory import MemoryCache
from .prefetch import Prefetch
from .stats import CacheStats, TierStats
from .tiered import Cache

__all__ = [
    "CODECS",
    "KEY_PATTERN",
    "LAYOUT_VERSION",
    "Cache",
    "CacheStats",
    "Catalog",
    "ChoiceEntry",
    "Claim",
    "ContentRow",
    "DocumentRow",
    "Entry",
    "FeatureEntry",
    "KeptTokens",
    "MemoryCache",
    "Namespace",
    "Prefetch",
    "PrefixEntry",
    "SuffixEntry",
    "TierStats",
    "entry_key",
]
