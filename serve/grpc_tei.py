"""``tei.v1.Rerank`` and ``tei.v1.Info`` on a Service: what clients of that server expect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from minireranker.errors import InputError, NoDocumentsError

from .callers import Caller
from .generated import tei_pb2 as pb
from .grpc_calls import GrpcCalls
from .grpc_methods import TEI_INFO, TEI_RERANK, TEI_RERANK_STREAM, Method
from .jobs import Job, Outcome
from .service import Service

__all__ = ["TeiServicer"]

_MOST = 2**32 - 1


class TeiServicer:
    """Texts only; a text that cannot be scored fails the call, which has no place for failures."""

    def __init__(self, service: Service) -> None:
        """Shared with the other servicers."""
        self._service = service

    def behaviours(self, calls: GrpcCalls) -> dict[Method, Callable[..., Any]]:
        """For a server."""
        return {
            TEI_INFO: calls.unary(TEI_INFO, self.info),
            TEI_RERANK: calls.unary(TEI_RERANK, self.rerank),
            TEI_RERANK_STREAM: calls.gathered(TEI_RERANK_STREAM, self.rerank_stream),
        }

    async def rerank(self, request: pb.RerankRequest, caller: Caller) -> pb.RerankResponse:
        """Raises like ``Service.rerank``; InputError for text that may not be cut but must be."""
        texts = tuple(request.texts)
        await self._service.check_room("rerank", 1, len(texts), *caller.room)
        await self._check_lengths(request, texts)
        job = Job(
            "rerank",
            texts,
            (request.query,),
            tenant=caller.tenant,
            deadline=caller.deadline,
            request_id=caller.request_id,
        )
        outcome = await self._service.rerank(job)
        if outcome.failed:
            first = outcome.failed[0]
            raise InputError(f"text {first.index}: {first.error}") from first.error
        return _response(request, texts, outcome)

    async def rerank_stream(
        self, requests: AsyncIterator[pb.RerankStreamRequest], caller: Caller
    ) -> pb.RerankResponse:
        """All that the first message says besides its text holds for the whole stream."""
        request: pb.RerankRequest | None = None
        async for item in requests:
            if request is None:
                request = pb.RerankRequest(
                    query=item.query,
                    truncate=item.truncate,
                    raw_scores=item.raw_scores,
                    return_text=item.return_text,
                    truncation_direction=item.truncation_direction,
                )
            request.texts.append(item.text)
            self._service.check_size("rerank", 1, len(request.texts), caller.tenant)
        if request is None:
            raise NoDocumentsError("the stream had no message; send one for each text")
        return await self.rerank(request, caller)

    async def info(self, _: pb.InfoRequest, caller: Caller) -> pb.InfoResponse:
        """Also before the server is ready."""
        info = self._service.info(caller.tenant)
        return pb.InfoResponse(
            version=info.version,
            model_id=info.model,
            model_dtype=info.dtype,
            model_type=pb.MODEL_TYPE_RERANKER,
            max_concurrent_requests=info.queue_documents,
            max_input_length=info.max_tokens,
            max_batch_tokens=info.max_tokens,
            max_client_batch_size=info.max_documents,
            tokenization_workers=1,
        )

    async def _check_lengths(self, request: pb.RerankRequest, texts: tuple[str, ...]) -> None:
        is_left = request.truncation_direction == pb.TRUNCATION_DIRECTION_LEFT
        if request.truncate and not is_left:
            return
        found = await self._service.overlong(request.query, texts)
        if found is not None:
            how = "texts are cut at their end only" if request.truncate else "set truncate"
            raise InputError(f"{found}; {how}, or shorten it")


def _response(
    request: pb.RerankRequest, texts: tuple[str, ...], outcome: Outcome
) -> pb.RerankResponse:
    ranks = [
        pb.Rank(
            index=hit.index,
            text=texts[hit.index] if request.return_text else None,
            score=hit.score if request.raw_scores else hit.probability,
        )
        for hit in outcome.results
    ]
    times = outcome.timings
    metadata = pb.Metadata(
        compute_chars=min(len(request.query) + sum(map(len, texts)), _MOST),
        compute_tokens=min(outcome.tokens.computed, _MOST),
        total_time_ns=times.total,
        tokenization_time_ns=times.inputs,
        queue_time_ns=times.queue,
        inference_time_ns=times.prefix + times.suffix,
    )
    return pb.RerankResponse(ranks=ranks, metadata=metadata)
