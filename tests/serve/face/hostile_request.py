"""What an attacker, a broken client or a bad day may send: one request of the tables."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Hostile:
    """One request, and the statuses that are right for it."""

    name: str
    body: bytes
    statuses: tuple[int, ...] = (400,)
    path: str = "/v1/rerank"
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))


def asking(name, statuses=(400,), path="/v1/rerank", **fields):
    fields = {"query": "a query", "documents": ["a document"], **fields}
    return Hostile(name, json.dumps(fields).encode(), statuses, path)


def inline(data):
    return base64.b64encode(data).decode()
