"""What an index keeps of a document beside its vectors, as JSON: where to read it again.

{"stamp": "...", "content": {"texts": [], "images": ["/a.png"], "videos": [], ...},
 "file": "/a.png", "detail": null, "rerankers": []}
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minireranker.engine.content import Content, Document
from minireranker.engine.stamps import is_file, sources_of
from minireranker.engine.written import content_from_json, content_to_json
from minireranker.errors import InputError


@dataclass(frozen=True)
class DocumentSource:
    """Of one document; every part may be missing."""

    stamp: str | None = None
    """Equal as long as the document is: see ``stamp_of`` of building."""
    content: dict[str, Any] | None = None
    """As ``content_to_json`` writes it; None where pixels came from elsewhere than a path."""
    file: str | None = None
    """The one file it is, or is made from."""
    detail: str | None = None
    """What of that file, where it is not all of it: a page."""
    rerankers: tuple[str, ...] = ()
    """Namespaces of rerankers that hold an entry of this very content."""

    @classmethod
    def of(cls, content: Content, stamp: str | None, rerankers: tuple[str, ...]) -> DocumentSource:
        """What there is to keep."""
        return cls(stamp, content_to_json(content), *_file(content), rerankers)

    @classmethod
    def from_json(cls, text: str | None) -> DocumentSource:
        """Nothing, where the text is none of ours."""
        try:
            found = json.loads(text or "")
            content = found["content"]
            return cls(
                found["stamp"],
                content if isinstance(content, dict) else None,
                found["file"],
                found["detail"],
                tuple(found["rerankers"]),
            )
        except (ValueError, LookupError, TypeError, RecursionError):
            return cls()

    def to_json(self) -> str:
        """What ``from_json`` reads."""
        return json.dumps(vars(self))


def document_of(name: str, source: Mapping[str, Any] | None) -> Document | None:
    """The document an index keeps the content of, to be read again; None where it does not."""
    try:
        content = content_from_json((source or {})["content"])
        return Document(
            text=content.texts,
            image=content.images or None,
            video=_videos(content),
            importances=content.importances or None,
            id=name,
        )
    except (LookupError, TypeError, ValueError, InputError):
        return None


def _videos(content: Content) -> Any:
    """One video on its own: in a list, an animated picture would be taken for a frame."""
    videos = content.videos
    if len(videos) == 1 and not isinstance(videos[0], tuple):
        return videos[0]
    return videos or None


def _file(content: Content) -> tuple[str | None, str | None]:
    found = list(sources_of(content))
    if len(found) != 1:
        return None, None
    if is_file(found[0]):
        return _absolute(found[0]), None
    path, detail = getattr(found[0], "made_from", (None, ""))
    return (None, None) if path is None else (_absolute(path), str(detail) or None)


def _absolute(path: Any) -> str:
    return os.path.abspath(os.fsdecode(os.fspath(path)))
