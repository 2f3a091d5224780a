"""What identifies an entry: everything that could change one of its bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

LAYOUT_VERSION = 4
"""Counted up whenever the tensors of an entry, or how they are computed, change."""

KEY_PATTERN = re.compile(r"[0-9a-f]{32}-[0-9a-f]{64}")
"""Every key: its namespace, a dash, the SHA-256 of its parts. Safe as a file name."""

Parts: TypeAlias = Mapping[str, str | bytes | int]


@dataclass(frozen=True, eq=False)
class Namespace:
    """What all entries of one model under one profile have in common, for one tenant.

    Its entries lie together and can be dropped at once. Two tenants share nothing: the tenant's
    name is part of every key.
    """

    identity: Parts
    """Weights, processor, profile, dtype, device, backend, codec."""
    tenant: str = ""
    label: str = ""
    """For people: model, profile, dtype, codec. Not part of any key."""
    name: str = field(init=False)
    """32 hex digits of the SHA-256 over identity, tenant and layout version."""

    def __post_init__(self) -> None:
        """Derive the name."""
        object.__setattr__(self, "name", entry_key(self._parts)[:32])

    def key(self, parts: Parts) -> str:
        """The key of the entry made of ``parts``: hashed together with the whole identity."""
        return f"{self.name}-{entry_key({**self._parts, **parts})}"

    @property
    def _parts(self) -> Parts:
        return {**self.identity, "tenant": self.tenant}


def entry_key(parts: Parts) -> str:
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
