"""A client of the sidecar. Needs gRPC and NumPy, not torch.

with Client("localhost:50051") as client:
    names = client.index([Path("one.jpg"), Path("two.jpg")]).ids
    best = client.rank("a red bicycle", [Id(name) for name in names], top_k=1)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeVar

import grpc

from .client_errors import error_of, trailers_of
from .client_messages import Id, outcome_of, rerank_request, scores_of
from .client_options import ClientOptions
from .gathering import Indexing, Scoring
from .generated import reranker_pb2 as pb
from .grpc_methods import EVICT, INDEX, INFO, RERANK, SCORE, Method
from .jobs import IndexOutcome, Outcome, ScoreOutcome
from .retrying import Attempts

__all__ = ["Client", "Id"]

_R = TypeVar("_R")


class Client:
    """Calls one server; to be closed, or used in a ``with`` statement; safe between threads.

    UNAVAILABLE and overload are tried again, see ``Retries``. What is left is raised: InputError
    for what is wrong with a call, UnknownDocumentError, QueueFullError, DeadlineError,
    NotReadyError, UnauthenticatedError, and ServerError for the rest.
    """

    def __init__(self, address: str, options: ClientOptions | None = None) -> None:
        """``address``: host:port. Connects when first used. Raises ConfigurationError."""
        self._options = options or ClientOptions()
        credentials, settings = self._options.credentials, self._options.channel
        self._channel = (
            grpc.insecure_channel(address, settings)
            if credentials is None
            else grpc.secure_channel(address, credentials, settings)
        )

    def rank(
        self,
        query: Any,
        documents: Iterable[Any],
        *,
        top_k: int | None = None,
        instruction: str | None = None,
    ) -> Outcome:
        """Documents by score, best first; those that failed are in ``.failed``.

        For what queries and documents may be see ``content_of`` and ``document_of``.
        """
        request = rerank_request(query, documents, top_k, instruction)
        return outcome_of(self._ask(RERANK, request))

    def score(
        self, queries: Sequence[Any], documents: Sequence[Any], *, instruction: str | None = None
    ) -> ScoreOutcome:
        """Every document for every query, in as many calls as the server's limits make it."""
        scoring = Scoring(queries, documents, instruction)
        for request in scoring.requests(self.info()):
            scoring.add(scores_of(self._ask(SCORE, request)))
        return scoring.outcome()

    def index(self, documents: Iterable[Any], *, instruction: str | None = None) -> IndexOutcome:
        """Upload documents, to be named by their ids afterwards.

        They are sent in chunks; what breaks off is sent again from the chunk it broke off in.
        """
        indexing = Indexing(self._options, instruction)
        for chunk in indexing.chunks(documents):

            def upload(chunk: list[pb.Document] = chunk, **how: Any) -> list[pb.IndexResult]:
                return list(INDEX.stub(self._channel)(indexing.requests(chunk), **how))

            indexing.add(len(chunk), self._call(upload))
        return indexing.outcome()

    def evict(self, ids: Iterable[str]) -> int:
        """Forget documents by their ids; how many were known."""
        response: pb.EvictResponse = self._ask(EVICT, pb.EvictRequest(ids=ids))
        return response.evicted

    def info(self) -> pb.InfoResponse:
        """Model, limits and load of the server."""
        response: pb.InfoResponse = self._ask(INFO, pb.InfoRequest())
        return response

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def _ask(self, method: Method, request: Any) -> Any:
        stub = method.stub(self._channel)
        return self._call(lambda **how: stub(request, **how))

    def _call(self, send: Callable[..., _R]) -> _R:
        attempts = Attempts(self._options.retries, self._options.timeout)
        while True:
            try:
                return send(timeout=attempts.left, metadata=self._options.metadata)
            except grpc.RpcError as error:
                failed: Any = error
                pause = attempts.pause(failed.code().name, trailers_of(failed))
                if pause is None:
                    raise error_of(failed) from error
                time.sleep(pause)
