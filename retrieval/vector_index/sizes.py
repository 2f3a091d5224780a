"""Bytes of an index's files, by what they hold."""

from __future__ import annotations

from .layout import PARTS
from .snapshot import Snapshot

GROUPS = {"hashes": "lookup", "hash_rows": "lookup"} | dict.fromkeys(
    ("token_ends", "id_ends", "source_ends"), "ends"
)
"""Parts that are counted under another name."""


def sizes(snapshot: Snapshot) -> dict[str, int]:
    """Part -> bytes: their sum is that of all files but the lock, which is empty between writes.

    "layout" is headers and alignment; "checks" checksums; the others are parts of segments (see
    ``layout``), deleted documents included, the "graph", and the "manifest".
    """
    found = dict.fromkeys(dict.fromkeys(GROUPS.get(part, part) for part in PARTS), 0)
    found |= {"layout": 0, "checks": 0}
    for part in snapshot.parts:
        layout = part.segment.layout
        for name, (start, stop) in layout.spans.items():
            found[GROUPS.get(name, name)] += stop - start
        found["layout"] += layout.end - sum(stop - start for start, stop in layout.spans.values())
        found["checks"] += layout.file_bytes - layout.end
    now = snapshot.manifest
    return {
        **found,
        "graph": now.graph.bytes if now.graph else 0,
        "manifest": len(now.text().encode()),
    }
