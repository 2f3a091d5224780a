"""Entries that follow from their key alone, so that any process can check every bit of one.

The scripts beside it run it by path: nothing here is collected.
"""

from __future__ import annotations

import hashlib
import random

import torch

from minireranker.cache.entry import Entry, FeatureEntry, PrefixEntry
from minireranker.cache.key import Namespace

LAYERS, HEADS, DIM = 2, 2, 32
MOST_TOKENS = 100
LARGEST = 2 * 2 * LAYERS * MOST_TOKENS * HEADS * DIM + 4096
"""Bytes no entry's file exceeds: K and V in bfloat16, and a generous header."""


def keys_of(namespace: Namespace, count: int) -> list[str]:
    return [namespace.key({"document": number}) for number in range(count)]


def kind_of(key: str) -> type[PrefixEntry] | type[FeatureEntry]:
    return PrefixEntry if int(key[-1], 16) % 2 else FeatureEntry


def make_entry(key: str) -> PrefixEntry | FeatureEntry:
    tokens = random.Random(key).randint(1, MOST_TOKENS)
    size = 2 * LAYERS * tokens * HEADS * DIM
    data = bytearray(hashlib.shake_256(key.encode()).digest(2 * size))
    both = torch.frombuffer(data, dtype=torch.bfloat16).view(2, LAYERS, tokens, HEADS, DIM)
    if kind_of(key) is FeatureEntry:
        flat = both.view(2 * LAYERS, tokens, HEADS * DIM)
        return FeatureEntry(flat[0], tuple(flat[1:]))
    parts = {"k": both[0], "v": both[1]}
    return PrefixEntry("exact", parts, torch.bfloat16, span=tokens + 1, tokens=tokens)


def is_right(key: str, found: Entry) -> bool:
    """Whether kind, fields, names, dtypes, shapes and every bit are those of ``key``."""
    wanted = make_entry(key)
    same = type(found) is type(wanted) and found.fields() == wanted.fields()
    return same and bits_of(found) == bits_of(wanted)


def bits_of(entry: Entry) -> dict[str, tuple[torch.dtype, torch.Size, bytes]]:
    return {
        name: (t.dtype, t.shape, t.contiguous().view(torch.uint8).numpy().tobytes())
        for name, t in entry.tensors().items()
    }
