"""How much room a peer gets for the first segments it keeps: enough that none has to go.

A peer that reuses prefixes is the strong baseline only while they stay. So all of the sample's get
room, by their layers' full depth, once for each of its ways that keeps them; and one more pair, for
an engine that takes what it computes with from the same room.
"""

from __future__ import annotations

from collections.abc import Sequence

from .contenders import Contender
from .geometry import Geometry
from .memory import item_bytes
from .plan import Plan
from .workload import LatencyWorkload

__all__ = ["kept_bytes", "prefix_tokens_at_most"]

_HEADER_TOKENS = 256
"""More than a header, an instruction and a second segment have."""
_WORD_TOKENS, _STAMP_TOKENS = 8, 12
"""More than a word has, and what stands before and after a video's temporal patch."""
_SMALL_FRAME, _ENLARGED_FRAMES = 131_072, 192
"""Pixels that a frame of fewer is enlarged to; more tokens than two such frames have then."""
_BLOCKS_TOKENS = 1_024
"""More than an engine that hands out room in blocks leaves unused in them."""


def kept_bytes(
    contenders: Sequence[Contender], plan: Plan, model: Geometry, dtype: str
) -> dict[str, int]:
    """By peer, of those that can run here; 0 for one that keeps nothing."""
    token = model.kept_numbers * item_bytes(dtype)
    # A query that is an image comes first, and its captions share it.
    count = plan.units * (1 if plan.load.query == "image" else plan.sample)
    longest = prefix_tokens_at_most(plan.load)
    kept, room = count * longest, longest + _BLOCKS_TOKENS
    found = {one.peer: 0 for one in contenders if one.absence is None}
    for one in contenders:
        if one.peer in found and one.keeps_prefixes:
            found[one.peer] += token * (kept + (0 if found[one.peer] else room))
    return found


def prefix_tokens_at_most(load: LatencyWorkload) -> int:
    """Of a first segment: an upper bound, from counts alone."""
    words = load.query_words if load.query == "image" else load.document_words
    patches = -(-load.frames // 2) if load.document == "video" else 0
    visual = load.visual_tokens
    if load.width * load.height < _SMALL_FRAME:
        visual = max(visual, _ENLARGED_FRAMES * patches)
    return visual + _STAMP_TOKENS * patches + _WORD_TOKENS * words + _HEADER_TOKENS
