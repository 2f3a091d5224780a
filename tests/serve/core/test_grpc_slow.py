"""Clients that send a byte a second: they are ended in time, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import grpc
import pytest

from minireranker import Reranker
from minireranker.serve.generated import reranker_pb2 as pb
from minireranker.serve.generated import tei_pb2
from minireranker.serve.grpc_methods import (
    INDEX,
    RERANK,
    RERANK_BATCH,
    SCORE,
    TEI_RERANK_STREAM,
)

LATE = grpc.StatusCode.DEADLINE_EXCEEDED
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
ACK, END_STREAM, END_HEADERS = 1, 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """RFC 9113, 4.1."""
    head = len(payload).to_bytes(3) + bytes([kind, flags])
    return head + stream.to_bytes(4) + payload


HELLO = PREFACE + frame(SETTINGS, 0, 0)


def headers(path: str) -> bytes:
    """RFC 7541, 6.2.2: literals without indexing, new names, no Huffman code."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x"}
    fields |= {"content-type": "application/grpc", "te": "trailers"}
    return b"".join(
        b"\0" + b"".join(bytes([len(word)]) + word.encode() for word in field)
        for field in fields.items()
    )


def message(body: Any) -> bytes:
    """As gRPC writes it: no compression, four bytes of length."""
    data: bytes = body.SerializeToString()
    return b"\0" + len(data).to_bytes(4) + data


class Line:
    """A connection whose client sends as it likes, and answers the server's own frames or not."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool = True
    ) -> None:
        self.writer, self.answers = writer, answers
        self.received = b""
        self.ended = asyncio.ensure_future(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        try:
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3]))
                self.received += payload
                if self.answers and head[3] in (SETTINGS, PING) and not head[4] & ACK:
                    is_ping = head[3] == PING
                    self.writer.write(frame(head[3], ACK, 0, payload if is_ping else b""))
        except (asyncio.IncompleteReadError, ConnectionError):
            return self.received


@asynccontextmanager
async def line(channel: Any, sent: bytes, answers: bool = True) -> AsyncIterator[Line]:
    where = "127.0.0.1", channel.server.port
    reader, writer = await asyncio.open_connection(*where)
    writer.write(sent)
    found = Line(reader, writer, answers)
    yield found
    writer.close()
    await asyncio.gather(writer.wait_closed(), found.ended, return_exceptions=True)


def asking(texts: list[str]) -> pb.RerankRequest:
    documents = [pb.Document(content=pb.Content(texts=[one])) for one in texts]
    return pb.RerankRequest(query=pb.Content(texts=["a red circle"]), documents=documents)


async def end_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", b"handshake timeout"),
        (PREFACE[:7], b"handshake timeout"),
        (HELLO, b"connection idle"),
        (HELLO + frame(HEADERS, END_HEADERS, 1, headers(RERANK.path))[:40], b"connection idle"),
    ],
    ids=["nothing", "half a preface", "no call", "half a call"],
)
def test_a_connection_without_a_call_is_closed(
    run: Any, builtin: Reranker, grpc_serving: Any, sent: bytes, reason: bytes
) -> None:
    async def ask() -> bytes:
        async with (
            grpc_serving(builtin, request_seconds=0.1) as channel,
            line(channel, sent, answers=False) as silent,
        ):
            return await silent.ended

    assert reason in run(ask())


@pytest.mark.parametrize(
    "path",
    [
        *(RERANK.path, SCORE.path, INDEX.path, RERANK_BATCH.path, TEI_RERANK_STREAM.path),
        *("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"),
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_a_call_whose_message_never_comes_whole_is_told_so(
    run: Any, builtin: Reranker, grpc_serving: Any, path: str
) -> None:
    begun = HELLO + frame(HEADERS, END_HEADERS, 1, headers(path))

    async def ask() -> bytes:
        async with (
            grpc_serving(builtin, request_seconds=0.2) as channel,
            line(channel, begun) as slow,
        ):
            for byte in message(asking(["never read"] * 100)):
                if slow.ended.done() or b"in time" in slow.received:
                    return slow.received
                slow.writer.write(frame(DATA, 0, 1, bytes([byte])))
                await asyncio.sleep(0.01)
            raise AssertionError("all of it was waited for")

    # grpc-status 4: DEADLINE_EXCEEDED
    assert b"grpc-status\x014" in run(ask())


def test_a_call_that_ends_without_a_message_is_told_so(
    run: Any, builtin: Reranker, grpc_serving: Any
) -> None:
    begun = HELLO + frame(HEADERS, END_HEADERS | END_STREAM, 1, headers(RERANK.path))

    async def ask() -> None:
        async with grpc_serving(builtin) as channel, line(channel, begun) as empty:
            while b"the call had no message" not in empty.received:
                await asyncio.sleep(0.01)

    run(ask())


def test_others_are_served_meanwhile_and_get_the_places_of_the_slow(
    run: Any, builtin: Reranker, grpc_serving: Any, texts: list[str]
) -> None:
    def calls(first: int) -> bytes:
        """Eight that are begun."""
        return b"".join(
            frame(HEADERS, END_HEADERS, number, headers(RERANK.path))
            + frame(DATA, 0, number, b"\0")
            for number in range(first, first + 16, 2)
        )

    async def ask() -> Any:
        stub: Any
        async with (
            grpc_serving(builtin, request_seconds=3_600.0) as channel,
            line(channel, HELLO + calls(1)),
        ):
            stub = RERANK.stub(channel)
            found = [len((await stub(asking(texts))).results) for _ in range(5)]
        async with (
            grpc_serving(builtin, request_seconds=1.0, connections=8) as channel,
            line(channel, HELLO) as slow,
        ):
            stub = RERANK.stub(channel)
            # Begun anew as long as it takes: a machine that stands still ends them before we ask.
            for first in itertools.count(1, 16):
                slow.writer.write(calls(first))
                try:
                    await stub(asking(texts))
                except grpc.aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                        break
            while True:
                with suppress(grpc.aio.AioRpcError):
                    return found, len((await stub(asking(texts))).results)

    assert run(ask()) == ([len(texts)] * 5, len(texts))


def test_a_stream_that_is_idle_is_ended_and_one_that_waits_for_the_server_is_not(
    run: Any, builtin: Reranker, grpc_serving: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with grpc_serving(builtin, request_seconds=0.3) as channel:
            held, release = threading.Event(), threading.Event()
            channel.service._engine.worker.submit(lambda: held.set() or release.wait(300))
            held.wait(300)
            batch, index = RERANK_BATCH.stub(channel)(), INDEX.stub(channel)()
            for number in range(2):
                if number:
                    await asyncio.sleep(1.0)
                wanted = pb.RerankBatchRequest(tag=number, request=asking(texts))
                await batch.write(wanted)
                await index.write(pb.IndexRequest(document=wanted.request.documents[number]))
            release.set()
            tags = {(await batch.read()).tag for _ in range(2)}
            places = {(await index.read()).index for _ in range(2)}
            return tags, places, await end_of(batch.read()), await end_of(index.read())

    assert run(ask()) == ({0, 1}, {0, 1}, LATE, LATE)


def test_a_stream_with_one_answer_has_the_time_of_one_request(
    run: Any, builtin: Reranker, grpc_serving: Any
) -> None:
    def texts() -> Iterator[tei_pb2.RerankStreamRequest]:
        for number in itertools.count():
            yield tei_pb2.RerankStreamRequest(query="red", text=f"{number}")
            time.sleep(0.02)

    def stream(port: int) -> Any:
        # Not asyncio's stub: it may have INTERNAL where the end meets a write (client_streams).
        with (
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
            pytest.raises(grpc.RpcError) as error,
        ):
            TEI_RERANK_STREAM.stub(channel)(texts())
        return error.value.code()

    async def ask() -> Any:
        async with grpc_serving(builtin, request_seconds=0.4) as channel:
            return await asyncio.to_thread(stream, channel.server.port)

    assert run(ask()) is LATE


def test_connections_are_bounded(run: Any, builtin: Reranker, grpc_serving: Any) -> None:
    async def ask() -> Any:
        async with grpc_serving(builtin, connections=4) as channel, AsyncExitStack() as stack:
            lines = [await stack.enter_async_context(line(channel, HELLO)) for _ in range(12)]
            while sum(one.ended.done() for one in lines) < 8:
                await asyncio.sleep(0.01)
            return [one.received == b"" for one in lines]

    found = run(ask())
    assert sum(found) == 8
