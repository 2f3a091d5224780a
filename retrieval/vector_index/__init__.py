"""An index of documents' vectors on the disk: append, delete, search by pooled, score by tokens."""

from .damages import Damage
from .index import VectorIndex
from .pooled_search import Found
from .rows import Rows, RowScorer
from .settings import ANNS, DTYPES, Settings
from .verification import Verification

__all__ = [
    "ANNS",
    "DTYPES",
    "Damage",
    "Found",
    "RowScorer",
    "Rows",
    "Settings",
    "VectorIndex",
    "Verification",
]
