"""The methods of both services: one table, from which servers take handlers and clients stubs.

protoc's own service code is not used: it has the same information, without types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from minireranker.errors import InputError

from .generated import reranker_pb2 as own
from .generated import tei_pb2 as tei

__all__ = [
    "EVICT",
    "INDEX",
    "INFO",
    "RERANK",
    "RERANK_BATCH",
    "SCORE",
    "TEI_INFO",
    "TEI_RERANK",
    "TEI_RERANK_STREAM",
    "Method",
    "generic_handlers",
]


@dataclass(frozen=True)
class Method:
    """One method of a service."""

    service: str
    name: str
    request: Any
    """Message class."""
    response: Any
    streams_in: bool = False
    streams_out: bool = False

    @property
    def path(self) -> str:
        """As it stands in the request."""
        return f"/{self.service}/{self.name}"

    def read(self, data: bytes) -> Any:
        """A request, or the InputError that says it is none: gRPC would call that UNKNOWN."""
        try:
            return self.request.FromString(data)
        except DecodeError:
            return InputError(
                f"the message is no {self.request.DESCRIPTOR.full_name}, or a text of it is not "
                "UTF-8: send one that is"
            )

    def handler(self, behaviour: Callable[..., Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """For a server."""
        kinds = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        make: Callable[..., Any] = kinds[self.streams_in, self.streams_out]
        handler: grpc.RpcMethodHandler[Any, Any] = make(
            behaviour, self.read, self.response.SerializeToString
        )
        return handler

    def stub(self, channel: Any) -> Any:
        """For a client: what calls the method over a sync or asyncio channel."""
        ways = ("stream" if many else "unary" for many in (self.streams_in, self.streams_out))
        return getattr(channel, "_".join(ways))(
            self.path,
            request_serializer=self.request.SerializeToString,
            response_deserializer=self.response.FromString,
        )


_OWN, _TEI = "minireranker.v1.Reranker", "tei.v1.Rerank"

INDEX = Method(_OWN, "IndexDocuments", own.IndexRequest, own.IndexResult, True, True)
RERANK = Method(_OWN, "Rerank", own.RerankRequest, own.RerankResponse)
SCORE = Method(_OWN, "Score", own.ScoreRequest, own.ScoreResponse)
RERANK_BATCH = Method(
    _OWN, "RerankBatch", own.RerankBatchRequest, own.RerankBatchResponse, True, True
)
EVICT = Method(_OWN, "EvictDocuments", own.EvictRequest, own.EvictResponse)
INFO = Method(_OWN, "Info", own.InfoRequest, own.InfoResponse)
TEI_RERANK = Method(_TEI, "Rerank", tei.RerankRequest, tei.RerankResponse)
TEI_RERANK_STREAM = Method(_TEI, "RerankStream", tei.RerankStreamRequest, tei.RerankResponse, True)
TEI_INFO = Method("tei.v1.Info", "Info", tei.InfoRequest, tei.InfoResponse)


def generic_handlers(
    behaviours: Mapping[Method, Callable[..., Any]],
) -> list[grpc.GenericRpcHandler]:
    """What a server adds, one for each service."""
    services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for method, behaviour in behaviours.items():
        services.setdefault(method.service, {})[method.name] = method.handler(behaviour)
    return [grpc.method_handlers_generic_handler(name, each) for name, each in services.items()]
