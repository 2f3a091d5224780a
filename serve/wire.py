"""Between the messages of ``minireranker.v1`` and jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from minireranker.errors import MinirerankerError

from .failures import failure_of
from .generated import reranker_pb2 as pb
from .grpc_codes import number_of
from .info import Info
from .jobs import Failed, Given, Outcome, Refused, ScoreOutcome, Timings, Tokens
from .seams import MediaReader

__all__ = [
    "documents_of",
    "failure_message",
    "given_content",
    "info_message",
    "queries_of",
    "ranked_message",
    "scored_message",
    "timings_message",
    "usage_message",
]


def given_content(content: pb.Content, identity: str | None = None) -> Given:
    """A message's texts and media as they came."""
    images, videos = tuple(map(_media, content.images)), tuple(map(_video, content.videos))
    return Given(tuple(content.texts), images, videos, identity)


async def queries_of(contents: Iterable[pb.Content], media: MediaReader) -> tuple[Any, ...]:
    """Queries of the engine. Raises InputError for any that cannot be read."""
    return tuple([await media.query(given_content(content)) for content in contents])


async def documents_of(documents: Iterable[pb.Document], media: MediaReader) -> tuple[Any, ...]:
    """Documents of the engine, and Refused in the place of those that are none."""
    given = [
        given_content(one.content, one.id if one.HasField("id") else None) for one in documents
    ]
    if any(isinstance(source, str) for one in given for source in (*one.images, *one.videos)):
        return tuple(await asyncio.gather(*(_document(one, media) for one in given)))
    return tuple([await _document(one, media) for one in given])


async def _document(given: Given, media: MediaReader) -> Any:
    try:
        return await media.document(given)
    except MinirerankerError as error:
        return Refused(error, given.id)


def ranked_message(outcome: Outcome, documents: Sequence[pb.Document]) -> pb.RerankResponse:
    """``documents``: those of the request if they are to be sent back, else empty."""
    results = [
        pb.RankedDocument(
            index=hit.index,
            id=hit.id,
            score=hit.score,
            probability=hit.probability,
            document=_returned(documents[hit.index]) if documents else None,
        )
        for hit in outcome.results
    ]
    return pb.RerankResponse(
        results=results,
        failures=map(failure_message, outcome.failed),
        timings=timings_message(outcome.timings),
        usage=usage_message(outcome.tokens),
    )


def scored_message(outcome: ScoreOutcome) -> pb.ScoreResponse:
    """Row after row."""
    return pb.ScoreResponse(
        queries=outcome.scores.shape[0],
        documents=outcome.scores.shape[1],
        scores=outcome.scores.ravel().tolist(),
        failures=map(failure_message, outcome.failed),
        timings=timings_message(outcome.timings),
        usage=usage_message(outcome.tokens),
    )


def failure_message(failed: Failed) -> pb.Failure:
    """A document's error as a client gets to see it."""
    failure = failure_of(failed.error)
    return pb.Failure(
        index=failed.index,
        id=failed.id,
        code=number_of(failure.code),
        message=failure.message,
        query=failed.query,
    )


def info_message(info: Info) -> pb.InfoResponse:
    """Field by field."""
    return pb.InfoResponse(
        version=info.version,
        model=info.model,
        profile=info.profile,
        device=info.device,
        dtype=info.dtype,
        max_documents=info.max_documents,
        max_queries=info.max_queries,
        queue_documents=info.queue_documents,
        max_tokens=info.max_tokens,
        waiting_documents=info.waiting,
        ready=info.ready,
    )


def _media(media: pb.Media) -> bytes | str:
    return media.uri if media.WhichOneof("source") == "uri" else media.data


def _video(video: pb.Video) -> bytes | str | tuple[bytes | str, ...]:
    if video.WhichOneof("source") == "frames":
        return tuple(map(_media, video.frames.frames))
    return _media(video.file)


def _returned(document: pb.Document) -> pb.Document:
    """Its id and texts; pictures are not sent back to where they came from."""
    identity = document.id if document.HasField("id") else None
    return pb.Document(id=identity, content=pb.Content(texts=document.content.texts))


def timings_message(timings: Timings) -> pb.Timings:
    """Field by field."""
    return pb.Timings(
        queue_ns=timings.queue,
        inputs_ns=timings.inputs,
        prefix_ns=timings.prefix,
        suffix_ns=timings.suffix,
        total_ns=timings.total,
    )


def usage_message(tokens: Tokens) -> pb.Usage:
    """Field by field."""
    return pb.Usage(tokens_computed=tokens.computed, tokens_cached=tokens.cached)
