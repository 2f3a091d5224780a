"""What a segment has of fixed size for each document, as arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .segment_file import Chunks, Parts


@dataclass(frozen=True)
class Columns:
    """Of the documents of one segment, in their order; ``kills`` are numbers of others."""

    kills: NDArray[np.int64]
    numbers: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    token_ends: NDArray[np.int64]

    def parts(self, id_ends: NDArray[np.int64], source_ends: NDArray[np.int64]) -> Parts:
        """Those parts, and the ends of the texts."""
        order = np.argsort(self.hashes, kind="stable")
        arrays: dict[str, NDArray[Any]] = {
            "kills": self.kills,
            "numbers": self.numbers,
            "hashes": self.hashes[order],
            "hash_rows": order.astype(np.uint32),
            "token_ends": self.token_ends,
            "id_ends": id_ends,
            "source_ends": source_ends,
        }
        return {name: functools.partial(_one, array) for name, array in arrays.items()}


def _one(array: NDArray[Any]) -> Chunks:
    return [np.ascontiguousarray(array)]


def ends_of(texts: Sequence[bytes]) -> NDArray[np.int64]:
    """[n + 1]: text i of them, behind one another, is [ends[i], ends[i + 1])."""
    return np.cumsum([0, *map(len, texts)], dtype=np.int64)
