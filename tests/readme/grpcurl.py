"""What the README's `grpcurl` lines use of grpcurl, for machines without it.

grpcurl [-plaintext] [-cacert FILE] [-H 'name: value'] [-max-time SECONDS] [-d JSON | -d @]
    HOST:PORT list | describe SYMBOL | SERVICE/METHOD

The server's own reflection says what there is; JSON is protobuf's. A call that fails says its code
on stderr, and ends the program with 64 and that code's number.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("grpcurl", allow_abbrev=False)
    parser.add_argument("-plaintext", action="store_true")
    parser.add_argument("-cacert", type=Path)
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-max-time", type=float)
    parser.add_argument("-d", dest="data", default="")
    parser.add_argument("address")
    parser.add_argument("verb")
    parser.add_argument("symbol", nargs="?")
    return parser.parse_args(arguments)


def metadata_of(headers: list[str]) -> list[tuple[str, str]]:
    pairs = (header.partition(":") for header in headers)
    return [(name.strip().lower(), value.strip()) for name, _, value in pairs]


def channel_of(asked: argparse.Namespace) -> grpc.Channel:
    if asked.plaintext:
        return grpc.insecure_channel(asked.address)
    authorities = None if asked.cacert is None else asked.cacert.read_bytes()
    return grpc.secure_channel(asked.address, grpc.ssl_channel_credentials(authorities))


class _WithMetadata(grpc.StreamStreamClientInterceptor):
    """Reflection asks with the caller's headers too."""

    def __init__(self, metadata: list[tuple[str, str]]) -> None:
        self._metadata = metadata

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details._replace(metadata=self._metadata), requests)


def messages(text: str) -> Iterator[Any]:
    """JSON objects, one after the other; none at all is one without fields."""
    decoder, at = json.JSONDecoder(), 0
    text = text.strip() or "{}"
    while at < len(text):
        found, at = decoder.raw_decode(text, at)
        yield found
        at += len(text[at:]) - len(text[at:].lstrip())


def call(channel: grpc.Channel, method: MethodDescriptor, asked: argparse.Namespace) -> None:
    kind, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    text = sys.stdin.read() if asked.data == "@" else asked.data
    sent = [json_format.ParseDict(one, kind()) for one in messages(text)]
    if not method.client_streaming and len(sent) != 1:
        raise SystemExit(f"{len(sent)} messages for a method that takes one")
    ways = (method.client_streaming, method.server_streaming)
    stub = getattr(channel, "_".join("stream" if many else "unary" for many in ways))(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=kind.SerializeToString,
        response_deserializer=answer.FromString,
    )
    how = {"timeout": asked.max_time, "metadata": metadata_of(asked.headers)}
    got = stub(iter(sent) if method.client_streaming else sent[0], **how)
    for one in got if method.server_streaming else [got]:
        print(json_format.MessageToJson(one))


def describe(service: ServiceDescriptor) -> None:
    print(f"{service.full_name} is a service:\nservice {service.name} {{")
    for method in service.methods:
        sides = (
            f"{'stream ' if many else ''}.{kind.full_name}"
            for many, kind in (
                (method.client_streaming, method.input_type),
                (method.server_streaming, method.output_type),
            )
        )
        print("  rpc {} ( {} ) returns ( {} );".format(method.name, *sides))
    print("}")


def main(arguments: list[str]) -> int:
    asked = parsed(arguments)
    with channel_of(asked) as channel:
        reflecting = grpc.intercept_channel(channel, _WithMetadata(metadata_of(asked.headers)))
        database = ProtoReflectionDescriptorDatabase(reflecting)
        pool: Any = DescriptorPool(database)
        try:
            if asked.verb == "list":
                print("\n".join(sorted(database.get_services())))
            elif asked.verb == "describe":
                describe(pool.FindServiceByName(asked.symbol))
            else:
                service, _, name = asked.verb.partition("/")
                call(channel, pool.FindServiceByName(service).methods_by_name[name], asked)
        except grpc.RpcError as error:
            failed: Any = error
            code = failed.code()
            print(f"ERROR:\n  Code: {code.name}\n  Message: {failed.details()}", file=sys.stderr)
            return 64 + int(code.value[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
