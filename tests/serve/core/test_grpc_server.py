"""The port: tokens, health, reflection, request ids, leaving without losing anybody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from minireranker import Reranker
from minireranker.errors import ConfigurationError
from minireranker.serve.generated import reranker_pb2 as pb
from minireranker.serve.generated import tei_pb2
from minireranker.serve.grpc_methods import (
    INDEX,
    INFO,
    RERANK,
    RERANK_BATCH,
    TEI_RERANK,
    TEI_RERANK_STREAM,
)

Health = health_pb2.HealthCheckResponse
TOKEN = "0123456789abcdef-a-good-token"


def asking(texts: list[str]) -> pb.RerankRequest:
    documents = [pb.Document(content=pb.Content(texts=[one])) for one in texts]
    return pb.RerankRequest(query=pb.Content(texts=["a red circle"]), documents=documents)


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code()


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", TOKEN),),
        (("authorization", "Bearer " + TOKEN[:-1]),),
        (("authorization", "Bearer " + TOKEN + "x"),),
        (("authorization", "Basic " + TOKEN),),
    ],
)
def test_no_method_answers_without_a_good_token(
    run: Any, builtin: Reranker, grpc_serving: Any, recorder: Any, metadata: Any, texts: list[str]
) -> None:
    async def ask() -> set[grpc.StatusCode]:
        async with grpc_serving(builtin, recorder, token=TOKEN) as channel:
            reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
            # Streams send nothing: see client_streams for what becomes of a status meanwhile.
            return {
                await code_of(RERANK.stub(channel)(asking(texts), metadata=metadata)),
                await code_of(INFO.stub(channel)(pb.InfoRequest(), metadata=metadata)),
                await code_of(INDEX.stub(channel)(metadata=metadata).read()),
                await code_of(RERANK_BATCH.stub(channel)(metadata=metadata).read()),
                await code_of(
                    TEI_RERANK.stub(channel)(tei_pb2.RerankRequest(query="q"), metadata=metadata)
                ),
                await code_of(TEI_RERANK_STREAM.stub(channel)(metadata=metadata)),
                await code_of(reflection.ServerReflectionInfo(metadata=metadata).read()),
            }

    assert run(ask()) == {grpc.StatusCode.UNAUTHENTICATED}
    assert recorder.rounds == []


def test_a_good_token_is_a_tenant_and_probes_need_none(
    run: Any, builtin: Reranker, grpc_serving: Any, tmp_path: Path, texts: list[str]
) -> None:
    (tmp_path / "tenants.toml").write_text(
        f'[first]\ntoken = "first-{TOKEN}"\n[second]\ntoken = "second-{TOKEN}"\n'
    )

    async def ask() -> Any:
        async with grpc_serving(builtin, tenants=tmp_path / "tenants.toml") as channel:
            health = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest()
            )
            found = []
            document = pb.Document(id="of the first", content=pb.Content(texts=["red"]))
            for name in ("first", "second"):
                bearer = (("authorization", f"Bearer {name}-{TOKEN}"),)
                if name == "first":
                    uploads = iter([pb.IndexRequest(document=document)])
                    await INDEX.stub(channel)(uploads, metadata=bearer).read()
                known = asking([])
                known.documents.add(id="of the first")
                answer = await RERANK.stub(channel)(known, metadata=bearer)
                found.append(len(answer.results))
            return health.status, found

    assert run(ask()) == (Health.SERVING, [1, 0])


def test_health_is_told_for_each_service_and_reflection_lists_them(
    run: Any, builtin: Reranker, grpc_serving: Any
) -> None:
    names = ["minireranker.v1.Reranker", "tei.v1.Info", "tei.v1.Rerank"]

    async def ask() -> Any:
        async with grpc_serving(builtin) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            states = [
                (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status
                for name in ("", *names)
            ]
            unknown = await code_of(stub.Check(health_pb2.HealthCheckRequest(service="other")))
            call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            )
            listed = (await call.read()).list_services_response.service
            return states, unknown, sorted(one.name for one in listed)

    states, unknown, listed = run(ask())
    assert states == [Health.SERVING] * 4
    assert unknown is grpc.StatusCode.NOT_FOUND
    assert set(names) < set(listed)
    assert "grpc.health.v1.Health" in listed


@pytest.mark.parametrize(
    ("given", "kept"), [("my-id.7", True), ("bad id", False), ("x" * 65, False)]
)
def test_a_call_keeps_its_id_if_it_is_one(
    run: Any, builtin: Reranker, grpc_serving: Any, recorder: Any, given: str, kept: bool
) -> None:
    async def ask() -> Any:
        async with grpc_serving(builtin, recorder) as channel:
            call = RERANK.stub(channel)(asking(["red"]), metadata=(("x-request-id", given),))
            await call
            return dict(await call.initial_metadata())["x-request-id"]

    found = run(ask())
    assert (found == given) is kept
    assert recorder.ends == [(found, "OK")]
    assert len(found) == (len(given) if kept else 16)


def test_leaving_finishes_what_is_open_and_refuses_the_rest(
    run: Any, builtin: Reranker, grpc_serving: Any, recorder: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        config = {"round_documents": 4, "slice_documents": 4}
        async with grpc_serving(builtin, recorder, **config) as channel:
            service, server = channel.service, channel.server
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            states = [(await watch.read()).status]
            idle = INDEX.stub(channel)()
            await idle.write(pb.IndexRequest(document=asking(["blue"]).documents[0]))
            await idle.read()
            batch = RERANK_BATCH.stub(channel)()
            for tag in range(5):
                await batch.write(pb.RerankBatchRequest(tag=tag, request=asking(texts)))
            calls = [asyncio.ensure_future(RERANK.stub(channel)(asking(texts))) for _ in range(8)]
            while recorder.queued < 1 + 5 + 8:
                await asyncio.sleep(0.001)
            await server.leave()
            states.append((await watch.read()).status)
            drained = asyncio.ensure_future(service.drain(60))
            await asyncio.sleep(0)
            late = await code_of(RERANK.stub(channel)(asking(texts)))
            stopped = asyncio.ensure_future(server.stop(60))
            answers = [len((await call).results) for call in calls]
            tags = [(await batch.read()).tag for _ in range(5)]
            ends = await code_of(batch.read()), await code_of(idle.read())
            await stopped
            return states, await drained, late, answers, sorted(tags), ends

    states, drained, late, answers, tags, ends = run(ask())
    assert states == [Health.SERVING, Health.NOT_SERVING]
    assert drained is True
    assert late is grpc.StatusCode.UNAVAILABLE
    assert answers == [len(texts)] * 8
    assert tags == [0, 1, 2, 3, 4]
    assert ends == (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)


def test_a_taken_port_is_said_so(run: Any, builtin: Reranker, grpc_serving: Any) -> None:
    from minireranker.serve.auth import Tokens
    from minireranker.serve.config import ServeConfig
    from minireranker.serve.grpc_server import GrpcServer
    from minireranker.serve.media import RequestMedia

    async def ask() -> None:
        async with grpc_serving(builtin) as channel:
            config = ServeConfig(model="builtin", grpc_port=channel.server.port)
            media = RequestMedia(config, builtin.profile.limits)
            tokens = Tokens((), is_guarded=False)
            other = GrpcServer(channel.service, media, tokens, config)
            with pytest.raises(ConfigurationError, match=r"cannot listen on 127\.0\.0\.1:\d+"):
                await other.start()
            await other.stop(0)

    run(ask())
