"""``minireranker.v1.Reranker`` on a Service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from .callers import Caller
from .failures import failure_of
from .fan import fan_out
from .generated import reranker_pb2 as pb
from .grpc_calls import GrpcCalls
from .grpc_codes import number_of
from .grpc_methods import EVICT, INDEX, INFO, RERANK, RERANK_BATCH, SCORE, Method
from .jobs import Job
from .seams import MediaReader
from .service import Service
from .streams import batches
from .wire import (
    documents_of,
    failure_message,
    given_content,
    info_message,
    queries_of,
    ranked_message,
    scored_message,
    timings_message,
    usage_message,
)

__all__ = ["RerankerServicer"]

_INDEXED_AT_ONCE, _BYTES_AT_ONCE, _PATIENCE = 32, 2**24, 0.005
_BATCHED_AT_ONCE = 32
"""Reranks of one stream that are in the service at a time."""


class RerankerServicer:
    """Every method of the service: messages to jobs, outcomes to messages."""

    def __init__(self, service: Service, media: MediaReader) -> None:
        """``media`` judges what requests bring."""
        self._service, self._media = service, media

    def behaviours(self, calls: GrpcCalls) -> dict[Method, Callable[..., Any]]:
        """For a server."""
        return {
            INDEX: calls.stream(INDEX, self.index),
            RERANK: calls.unary(RERANK, self.rerank),
            SCORE: calls.unary(SCORE, self.score),
            RERANK_BATCH: calls.stream(RERANK_BATCH, self.rerank_batch),
            EVICT: calls.unary(EVICT, self.evict),
            INFO: calls.unary(INFO, self.info),
        }

    async def rerank(self, request: pb.RerankRequest, caller: Caller) -> pb.RerankResponse:
        """Raises like ``Service.rerank``."""
        await self._service.check_room("rerank", 1, len(request.documents), *caller.room)
        job = Job(
            "rerank",
            await documents_of(request.documents, self._media),
            (await self._media.query(given_content(request.query)),),
            _optional(request, "instruction"),
            _optional(request, "top_k"),
            caller.tenant,
            caller.deadline,
            caller.request_id,
        )
        outcome = await self._service.rerank(job)
        return ranked_message(outcome, request.documents if request.return_documents else ())

    async def score(self, request: pb.ScoreRequest, caller: Caller) -> pb.ScoreResponse:
        """Raises like ``Service.score``."""
        queries, documents = len(request.queries), len(request.documents)
        await self._service.check_room("score", queries, documents, *caller.room)
        job = Job(
            "score",
            await documents_of(request.documents, self._media),
            await queries_of(request.queries, self._media),
            _optional(request, "instruction"),
            None,
            caller.tenant,
            caller.deadline,
            caller.request_id,
        )
        return scored_message(await self._service.score(job))

    async def index(
        self, requests: AsyncIterator[pb.IndexRequest], caller: Caller
    ) -> AsyncIterator[pb.IndexResult]:
        """Raises like ``Service.index``, for the documents that have come since the last result."""
        start, instruction = 0, None
        limits = {"most": _INDEXED_AT_ONCE, "most_bytes": _BYTES_AT_ONCE}
        async for batch in batches(requests, patience=_PATIENCE, **limits):
            if not start:
                instruction = _optional(batch[0], "instruction")
            async for result in self._indexed(batch, instruction, caller, start):
                yield result
            start += len(batch)

    async def _indexed(
        self, batch: list[pb.IndexRequest], instruction: str | None, caller: Caller, start: int
    ) -> AsyncIterator[pb.IndexResult]:
        await self._service.check_room("index", 0, len(batch), *caller.room)
        documents = await documents_of((item.document for item in batch), self._media)
        job = Job(
            "index",
            documents,
            instruction=instruction,
            tenant=caller.tenant,
            deadline=caller.deadline,
            request_id=caller.request_id,
        )
        outcome = await self._service.index(job)
        failed = {one.index: one for one in outcome.failed}
        for index, identity in enumerate(outcome.ids):
            result = pb.IndexResult(index=start + index)
            if index in failed:
                result.failure.CopyFrom(failure_message(failed[index]))
                result.failure.index = start + index
            else:
                result.id = identity or ""
            if index == len(batch) - 1:
                result.timings.CopyFrom(timings_message(outcome.timings))
                result.usage.CopyFrom(usage_message(outcome.tokens))
            yield result

    async def rerank_batch(
        self, requests: AsyncIterator[pb.RerankBatchRequest], caller: Caller
    ) -> AsyncIterator[pb.RerankBatchResponse]:
        """What a request fails with is in its answer."""

        async def one(request: pb.RerankBatchRequest) -> pb.RerankBatchResponse:
            try:
                response = await self.rerank(request.request, caller)
            except Exception as error:
                return pb.RerankBatchResponse(tag=request.tag, error=_error(error))
            return pb.RerankBatchResponse(tag=request.tag, response=response)

        async for answer in fan_out(requests, one, _BATCHED_AT_ONCE):
            yield answer

    async def evict(self, request: pb.EvictRequest, caller: Caller) -> pb.EvictResponse:
        """Raises NotReadyError."""
        return pb.EvictResponse(evicted=await self._service.evict(request.ids, caller.tenant))

    async def info(self, _: pb.InfoRequest, caller: Caller) -> pb.InfoResponse:
        """Also before the server is ready."""
        return info_message(self._service.info(caller.tenant))


def _optional(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _error(error: Exception) -> pb.Error:
    failure = failure_of(error)
    return pb.Error(
        code=number_of(failure.code),
        message=failure.message,
        retry_after_seconds=failure.retry_after,
    )
