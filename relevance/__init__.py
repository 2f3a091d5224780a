"""Who should find what: datasets of queries, documents and judgments, and figures over rankings.

A dataset is read from a folder or a file (``open_dataset``); a ranking is compared with its
judgments (``metrics``) or with another ranking (``agreement``), each with an interval over queries
(``intervals``).
"""

from .agreement import kendall_tau, overlap
from .dataset import Dataset
from .drawn import DrawnQuery, DrawnSettings, draw_dataset, drawn_queries
from .intervals import Interval, bootstrap
from .metrics import hit, mrr, ndcg
from .opening import open_dataset

__all__ = [
    "Dataset",
    "DrawnQuery",
    "DrawnSettings",
    "Interval",
    "bootstrap",
    "draw_dataset",
    "drawn_queries",
    "hit",
    "kendall_tau",
    "mrr",
    "ndcg",
    "open_dataset",
    "overlap",
]
