"""A query's or document's content, read: text, and pixels canonical and on the grid."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minireranker.configs import Limits

from .content import Content
from .media import load_image
from .pixels import Visual, image_visual, video_visual
from .prompt import Side
from .pruning import kept_tokens
from .tokenizer import require_unicode
from .video import load_video

_NOTHING = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Reading:
    """Content within limits; which visual tokens are kept has not been decided yet."""

    texts: tuple[str, ...]
    visuals: tuple[Visual, ...]
    """Videos first, then images (method, section 1)."""

    def digest(self) -> str:
        """Hex SHA-256 over texts and pixels."""
        return side_digest(Side(self.texts, self.visuals, (_NOTHING,) * len(self.visuals)))

    def pruned(self, importances: Sequence[Any], keep_ratio: float) -> Side:
        """With the visual tokens kept that ``kept_tokens`` chooses. Raises ImportanceError."""
        kept = kept_tokens(self.visuals, importances, keep_ratio)
        return Side(self.texts, self.visuals, kept)


def read_content(content: Content, limits: Limits) -> Reading:
    """Decode and resize ``content``.

    Raises MediaError for what cannot or may not be read, and InputError for text that is not valid
    Unicode.
    """
    for text in content.texts:
        require_unicode(text)
    visuals: list[Visual] = []
    for source in content.videos:
        frames = load_video(source, limits)
        visuals.append(video_visual(frames.images, frames.times, limits, frames.source_size))
    visuals += [image_visual(load_image(source, limits), limits) for source in content.images]
    return Reading(content.texts, tuple(visuals))


def side_digest(side: Side) -> str:
    """A name for a document's content: hex SHA-256 over texts, pixels and a caller's choice."""
    state = hashlib.sha256()
    for text in side.texts:
        data = text.encode("utf-8", "surrogatepass")
        state.update(f"text:{len(data)};".encode())
        state.update(data)
    guided = side.guided or (False,) * len(side.visuals)
    for visual, kept, is_guided in zip(side.visuals, side.kept, guided, strict=True):
        # What an embedder chose follows from the rest, and need not be the same bits on a GPU.
        chosen = b"" if is_guided else kept.tobytes()
        state.update(b"visual;" + visual.digest() + hashlib.sha256(chosen).digest())
    return state.hexdigest()
