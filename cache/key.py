"""What identifies an entry: everything that could change one of its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

LAYOUT_VERSION = 1
"""Counted up whenever the tensors of an entry, or how they are computed, change."""


def entry_key(parts: Mapping[str, str | bytes | int]) -> str:
    """SHA-256, in hex, over named parts: content, weights, processor, template, profile, dtype...

    Names and lengths are hashed too, so that no two lists of parts run together. Order of the
    mapping does not matter.
    """
    state = hashlib.sha256(f"minireranker layout {LAYOUT_VERSION};".encode())
    for name in sorted(parts):
        value = parts[name]
        data = value if isinstance(value, bytes) else str(value).encode()
        state.update(f"{len(name)}:{name}:{type(value).__name__}:{len(data)};".encode())
        state.update(data)
    return state.hexdigest()
