"""What a caller of the client passes, as messages; what comes back, as outcomes and errors."""

from __future__ import annotations

import io
import mimetypes
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minireranker.errors import InputError

from .client_errors import failed_of
from .generated import reranker_pb2 as pb
from .jobs import Outcome, Scored, ScoreOutcome, Timings, Tokens
from .refusals import ServerError

__all__ = [
    "Id",
    "chunks",
    "content_of",
    "document_of",
    "outcome_of",
    "rerank_request",
    "scores_of",
    "timings_of",
    "tokens_of",
]

_FIELDS = ("text", "image", "video", "id")


class Id(str):
    """The id of a document that was indexed: a plain ``str`` is a text."""


def content_of(value: Any) -> pb.Content:
    """A query from what the library takes: a text, a file (``Path``: a video by its suffix, else an
    image), encoded image ``bytes``, a PIL image, a dict with any of text, image and video, or a
    ``Query`` or ``Document``. A ``str`` for an image is a URI, for the server to judge.

    Raises InputError.
    """
    if hasattr(value, "content"):
        content = value.content
        return pb.Content(
            texts=map(_text, content.texts),
            images=map(_media, content.images),
            videos=map(_video, content.videos),
        )
    if isinstance(value, Mapping):
        unknown = sorted(str(key) for key in value if key not in _FIELDS)
        if unknown:
            known = ", ".join(_FIELDS)
            raise InputError(f"unknown field(s) {', '.join(unknown)}; there are {known}")
        return pb.Content(
            texts=map(_text, _several(value.get("text"))),
            images=map(_media, _several(value.get("image"))),
            videos=map(_video, _several(value.get("video"))),
        )
    if isinstance(value, str):
        return pb.Content(texts=[_text(value)])
    if isinstance(value, os.PathLike) and _is_video(value):
        return pb.Content(videos=[pb.Video(file=_media(value))])
    return pb.Content(images=[_media(value)])


def document_of(value: Any) -> pb.Document:
    """A document: what a query may be, an ``Id``, or a dict with an id too. Raises InputError."""
    if isinstance(value, pb.Document):
        return value
    if isinstance(value, Id):
        return pb.Document(id=str(value))
    is_named_only = getattr(value, "is_reference", False)
    identity = getattr(value, "id", None)
    if isinstance(value, Mapping):
        identity, is_named_only = value.get("id"), set(value) == {"id"}
    if not isinstance(identity, str | None):
        raise InputError(f"a document's id is {type(identity).__name__}; pass a str")
    return pb.Document(id=identity, content=None if is_named_only else content_of(value))


def rerank_request(
    query: Any, documents: Iterable[Any], top_k: int | None, instruction: str | None
) -> pb.RerankRequest:
    """One query over its documents. Raises InputError."""
    return pb.RerankRequest(
        query=content_of(query),
        documents=map(document_of, documents),
        top_k=top_k,
        instruction=instruction,
    )


def chunks(documents: Iterable[Any], most: int, most_bytes: int) -> Iterator[list[pb.Document]]:
    """Documents as messages, in lists of at most ``most``, or as many as reach ``most_bytes``.

    Files are read as their list is made.
    """
    chunk: list[pb.Document] = []
    size = 0
    for value in documents:
        chunk.append(document_of(value))
        size += chunk[-1].ByteSize()
        if len(chunk) == most or size >= most_bytes:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def outcome_of(response: pb.RerankResponse) -> Outcome:
    """Of a rerank."""
    results = tuple(
        Scored(hit.index, hit.id if hit.HasField("id") else None, hit.score, hit.probability)
        for hit in response.results
    )
    failed = tuple(map(failed_of, response.failures))
    return Outcome(results, failed, timings_of(response.timings), tokens_of(response.usage))


def scores_of(response: pb.ScoreResponse) -> ScoreOutcome:
    """Of a score."""
    scores = np.array(response.scores, np.float32)
    shape = response.queries, response.documents
    if scores.size != shape[0] * shape[1]:
        raise ServerError(f"the server sent {scores.size} scores for {shape}: report this")
    failed = tuple(map(failed_of, response.failures))
    tokens, times = tokens_of(response.usage), timings_of(response.timings)
    return ScoreOutcome(scores.reshape(shape), failed, times, tokens)


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"text is {type(value).__name__}; pass a str")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            "text has a lone surrogate: not valid Unicode; decode it with errors='replace'"
        ) from None
    return value


def _media(value: Any) -> pb.Media:
    """A file's bytes; a ``str`` is a URI that the server is to judge."""
    if callable(value):
        value = value()
    if hasattr(value, "save"):
        out = io.BytesIO()
        value.convert("RGBA" if value.has_transparency_data else "RGB").save(out, "PNG")
        return pb.Media(data=out.getvalue())
    if isinstance(value, bytes | bytearray | memoryview):
        return pb.Media(data=bytes(value))
    if isinstance(value, str):
        return pb.Media(uri=_text(value))
    if not isinstance(value, os.PathLike):
        raise InputError(
            f"an image or video is {type(value).__name__}; pass a path, encoded bytes, a PIL image "
            "or a URI"
        )
    try:
        return pb.Media(data=Path(value).read_bytes())
    except OSError as error:
        raise InputError(f"{os.fspath(value)}: {error.strerror}; check the path") from error


def _video(value: Any) -> pb.Video:
    if isinstance(value, list | tuple):
        return pb.Video(frames=pb.Frames(frames=map(_media, value)))
    return pb.Video(file=_media(value))


def _is_video(path: os.PathLike[str]) -> bool:
    kind, _ = mimetypes.guess_type(os.fspath(path))
    return (kind or "").startswith("video/")


def timings_of(times: pb.Timings) -> Timings:
    """Field by field."""
    return Timings(
        times.queue_ns, times.inputs_ns, times.prefix_ns, times.suffix_ns, times.total_ns
    )


def tokens_of(usage: pb.Usage) -> Tokens:
    """Field by field."""
    return Tokens(usage.tokens_computed, usage.tokens_cached)
