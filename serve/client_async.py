"""``Client`` for asyncio: the same methods, awaited.

async with AsyncClient("localhost:50051") as client:
    best = await client.rank("a red bicycle", ["a bicycle", "a boat"], top_k=1)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Self, TypeVar

import grpc

from .client_errors import error_of, trailers_of
from .client_messages import outcome_of, rerank_request, scores_of
from .client_options import ClientOptions
from .client_streams import answers_of
from .gathering import Indexing, Scoring
from .generated import reranker_pb2 as pb
from .grpc_methods import EVICT, INDEX, INFO, RERANK, SCORE, Method
from .jobs import IndexOutcome, Outcome, ScoreOutcome
from .retrying import Attempts

__all__ = ["AsyncClient"]

_R = TypeVar("_R")


class AsyncClient:
    """Calls one server, from one event loop; for what is raised see ``client.Client``."""

    def __init__(self, address: str, options: ClientOptions | None = None) -> None:
        """``address``: host:port. Connects when first used. Raises ConfigurationError."""
        self._options = options or ClientOptions()
        credentials, settings = self._options.credentials, self._options.channel
        self._channel = (
            grpc.aio.insecure_channel(address, settings)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, settings)
        )

    async def rank(
        self,
        query: Any,
        documents: Iterable[Any],
        *,
        top_k: int | None = None,
        instruction: str | None = None,
    ) -> Outcome:
        """As ``Client.rank``."""
        request = rerank_request(query, documents, top_k, instruction)
        return outcome_of(await self._ask(RERANK, request))

    async def score(
        self, queries: Sequence[Any], documents: Sequence[Any], *, instruction: str | None = None
    ) -> ScoreOutcome:
        """As ``Client.score``."""
        scoring = Scoring(queries, documents, instruction)
        for request in scoring.requests(await self.info()):
            scoring.add(scores_of(await self._ask(SCORE, request)))
        return scoring.outcome()

    async def index(
        self, documents: Iterable[Any], *, instruction: str | None = None
    ) -> IndexOutcome:
        """As ``Client.index``."""
        indexing = Indexing(self._options, instruction)
        for chunk in indexing.chunks(documents):

            async def upload(chunk: list[pb.Document] = chunk, **how: Any) -> list[pb.IndexResult]:
                call = INDEX.stub(self._channel)(indexing.requests(chunk), **how)
                return await answers_of(call)

            indexing.add(len(chunk), await self._call(upload))
        return indexing.outcome()

    async def evict(self, ids: Iterable[str]) -> int:
        """Forget documents by their ids; how many were known."""
        response: pb.EvictResponse = await self._ask(EVICT, pb.EvictRequest(ids=ids))
        return response.evicted

    async def info(self) -> pb.InfoResponse:
        """Model, limits and load of the server."""
        response: pb.InfoResponse = await self._ask(INFO, pb.InfoRequest())
        return response

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close."""
        await self.close()

    async def _ask(self, method: Method, request: Any) -> Any:
        stub = method.stub(self._channel)
        return await self._call(lambda **how: stub(request, **how))

    async def _call(self, send: Callable[..., Awaitable[_R]]) -> _R:
        attempts = Attempts(self._options.retries, self._options.timeout)
        while True:
            try:
                return await send(timeout=attempts.left, metadata=self._options.metadata)
            except grpc.aio.AioRpcError as error:
                pause = attempts.pause(error.code().name, trailers_of(error))
                if pause is None:
                    raise error_of(error) from error
                await asyncio.sleep(pause)
