"""Queries and documents as HTTP clients write them, as ``jobs.Given``.

A string is a text. An object has ``content``, a list of parts as in chat messages (vLLM), or any of
``text``, ``image``, ``video`` (Jina), or fields of the client's own with ``rank_fields`` (Cohere).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from minireranker.errors import InputError, NoDocumentsError

from .jobs import Given

__all__ = ["given_document", "given_query", "listed_documents"]

_MEDIA = {"image_url": "images", "video_url": "videos"}

_LONGEST_ID = 512

Cut: TypeAlias = Callable[[str], str]
"""Shortens a text to what a request allows."""


@dataclass
class _Parts:
    """What has been found of one side so far."""

    texts: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    videos: list[str | tuple[str, ...]] = field(default_factory=list)

    def given(self, cut: Cut, identity: str | None = None) -> Given:
        texts = tuple(map(cut, self.texts))
        return Given(texts, tuple(self.images), tuple(self.videos), identity)


def listed_documents(documents: Any) -> list[Any]:
    """The documents of a request. Raises NoDocumentsError, and InputError for what is no list.

    One object with ``content`` stands for as many documents as it has parts, as in vLLM.
    """
    if isinstance(documents, dict) and isinstance(documents.get("content"), list):
        documents = [{"content": [part]} for part in documents["content"]]
    elif isinstance(documents, str | dict):
        documents = [documents]
    if not isinstance(documents, list):
        raise InputError("documents: this is no list; send a list of strings or objects")
    if not documents:
        raise NoDocumentsError("documents: the list is empty; send at least one")
    return documents


def given_query(value: Any, cut: Cut) -> Given:
    """A query. Raises InputError."""
    try:
        return _side(value, None, cut)
    except InputError as error:
        raise type(error)(f"query: {error}") from None


def given_document(value: Any, rank_fields: Sequence[str] | None, cut: Cut) -> Given:
    """A document. Raises InputError."""
    return _side(value, rank_fields, cut)


def _side(value: Any, rank_fields: Sequence[str] | None, cut: Cut) -> Given:
    if isinstance(value, str):
        return Given((cut(value),))
    if not isinstance(value, dict):
        raise InputError("this is neither a string nor an object; see /docs")
    parts, identity = _Parts(), _identity(value.get("id"))
    if rank_fields:
        parts.texts.append(_chosen(value, rank_fields))
    elif "content" in value:
        _read_content(value["content"], parts)
    else:
        _read_fields(value, parts)
    if identity is None and not (parts.texts or parts.images or parts.videos):
        raise InputError("this object has none of text, image, video, content and id; see /docs")
    return parts.given(cut, identity)


def _chosen(value: dict[str, Any], rank_fields: Sequence[str]) -> str:
    """The one field as it is; several each on a line of its own, after its name.

    A field that is named again is not: a text would be as often as long.
    """
    names = list(dict.fromkeys(rank_fields))
    if len(names) == 1:
        return _text(value.get(names[0]))
    return "\n".join(f"{name}: {value[name]}" for name in names if name in value)


def _read_fields(value: dict[str, Any], parts: _Parts) -> None:
    parts.texts += map(_text, _several(value.get("text")))
    parts.images += map(_medium, _several(value.get("image")))
    parts.videos += map(_video, _several(value.get("video")))


def _read_content(content: Any, parts: _Parts) -> None:
    if isinstance(content, str):
        parts.texts.append(content)
        return
    if not isinstance(content, list):
        raise InputError("content is no list of parts; see /docs")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            parts.texts.append(_text(part.get("text")))
        elif isinstance(kind, str) and kind in _MEDIA:
            getattr(parts, _MEDIA[kind]).append(_medium(part.get(kind)))
        else:
            raise InputError("a part of content is of no known type: text, image_url or video_url")


def _identity(value: Any) -> str | None:
    """Of a document. Numbers and the like are the client's own affair, as any unknown field is."""
    if not isinstance(value, str) or not value:
        return None
    if len(value) > _LONGEST_ID or not value.isprintable():
        raise InputError(f"an id is over {_LONGEST_ID} characters, or not all can be printed")
    return value


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError("a text is no string; send a string")
    return value


def _medium(value: Any) -> str:
    """A string, or an object with a ``url``."""
    value = value.get("url") if isinstance(value, dict) else value
    if not isinstance(value, str) or not value:
        raise InputError(
            "an image or video is no string, or has nothing in it: send base64, or a data: URI"
        )
    return value


def _video(value: Any) -> str | tuple[str, ...]:
    """A file, or a list of frames."""
    if isinstance(value, list):
        return tuple(map(_medium, value))
    return _medium(value)
