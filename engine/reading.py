"""A query's or document's content, read: pixels canonical and on the grid, tokens chosen."""

from __future__ import annotations

import hashlib

from minireranker.configs import Profile

from .content import Content
from .media import load_image
from .pixels import Visual, image_visual, video_visual
from .prompt import Side
from .pruning import kept_tokens
from .tokenizer import require_unicode
from .video import load_video


def read_side(content: Content, profile: Profile) -> Side:
    """Decode, resize and prune ``content``; videos first, then images (method, section 1).

    Raises MediaError for what cannot or may not be read, ImportanceError, and InputError for text
    that is not valid Unicode.
    """
    limits = profile.limits
    for text in content.texts:
        require_unicode(text)
    visuals: list[Visual] = []
    for source in content.videos:
        frames = load_video(source, limits)
        visuals.append(video_visual(frames.images, frames.times, limits, frames.source_size))
    visuals += [image_visual(load_image(source, limits), limits) for source in content.images]
    kept = kept_tokens(visuals, content.importances, profile.keep_ratio)
    return Side(content.texts, tuple(visuals), kept)


def side_digest(side: Side) -> str:
    """A name for a document's content: hex SHA-256 over texts, pixels and what is kept."""
    state = hashlib.sha256()
    for text in side.texts:
        data = text.encode("utf-8", "surrogatepass")
        state.update(f"text:{len(data)};".encode())
        state.update(data)
    for visual, kept in zip(side.visuals, side.kept, strict=True):
        state.update(b"visual;" + visual.digest() + hashlib.sha256(kept.tobytes()).digest())
    return state.hexdigest()
