"""minireranker.v1 over a socket: the library's scores, handles, streams, every status."""

from __future__ import annotations

import asyncio
import io
from random import Random
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from minireranker import Document, Reranker
from minireranker.scenes import draw, random_scene
from minireranker.serve.generated import reranker_pb2 as pb
from minireranker.serve.grpc_methods import EVICT, INDEX, INFO, RERANK, RERANK_BATCH, SCORE

Code = grpc.StatusCode


def png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.asarray(draw(random_scene(Random(seed))))).save(out, "PNG")
    return out.getvalue()


def text(words: str) -> pb.Content:
    return pb.Content(texts=[words])


def picture(data: bytes, identity: str | None = None) -> pb.Document:
    return pb.Document(id=identity, content=pb.Content(images=[pb.Media(data=data)]))


def asking(query: str, documents: Any, **fields: Any) -> pb.RerankRequest:
    listed = [pb.Document(content=text(one)) if isinstance(one, str) else one for one in documents]
    return pb.RerankRequest(query=text(query), documents=listed, **fields)


async def status_of(call: Any) -> tuple[Code, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


def test_scores_over_the_wire_are_the_librarys_bit_for_bit(
    run: Any, builtin: Reranker, grpc_serving: Any, texts: list[str]
) -> None:
    pictures = [png(seed) for seed in range(3)]
    documents = [*texts, *map(picture, pictures)]
    expected = builtin.score("a red circle", [*texts, *pictures])[0]

    async def ask() -> Any:
        async with grpc_serving(builtin) as channel:
            return await RERANK.stub(channel)(asking("a red circle", documents))

    response = run(ask())
    best = builtin.rank("a red circle", [*texts, *pictures])
    assert [hit.index for hit in response.results] == [hit.index for hit in best]
    for hit, own in zip(response.results, best, strict=True):
        assert np.float32(hit.score) == expected[hit.index]
        assert (hit.score, hit.probability) == (own.score, own.probability)
    times, usage = response.timings, response.usage
    assert times.total_ns >= times.queue_ns + times.inputs_ns + times.prefix_ns + times.suffix_ns
    assert times.suffix_ns > 0
    assert usage.tokens_computed > 0


def test_many_queries_come_as_packed_float32(
    run: Any, builtin: Reranker, grpc_serving: Any, texts: list[str]
) -> None:
    torn = picture(b"\x89PNG\r\n\x1a\nno", "torn")
    listed = [*(pb.Document(content=text(one)) for one in texts), torn]

    async def ask() -> Any:
        async with grpc_serving(builtin) as channel:
            request = pb.ScoreRequest(queries=map(text, texts[:3]), documents=listed)
            return await SCORE.stub(channel)(request)

    response = run(ask())
    scores = np.array(response.scores, np.float32).reshape(response.queries, response.documents)
    assert np.array_equal(scores[:, :-1], builtin.score(texts[:3], texts))
    assert np.isnan(scores[:, -1]).all()
    (failure,) = response.failures
    assert (failure.index, failure.id, failure.code) == (len(texts), "torn", 3)
    assert not failure.HasField("query")


def test_documents_are_sent_once_and_named_by_their_ids(
    run: Any, builtin: Reranker, grpc_serving: Any
) -> None:
    data = png(11)
    uploads = [picture(data, "one"), picture(b"junk", "bad"), pb.Document(content=text("blue"))]

    async def ask() -> Any:
        async with grpc_serving(builtin) as channel:
            requests = (pb.IndexRequest(document=one) for one in uploads)
            results = [item async for item in INDEX.stub(channel)(requests)]
            names = ["one", results[2].id, "never"]
            by_id = asking("a red circle", [pb.Document(id=name) for name in names])
            ranked = await RERANK.stub(channel)(by_id)
            evicted = await EVICT.stub(channel)(pb.EvictRequest(ids=names))
            return results, ranked, evicted.evicted, await RERANK.stub(channel)(by_id)

    results, ranked, evicted, after = run(ask())
    assert [item.index for item in results] == [0, 1, 2]
    assert (results[0].id, len(results[2].id)) == ("one", 64)
    assert (results[1].failure.code, results[1].failure.id) == (3, "bad")
    expected = builtin.score("a red circle", [Document(image=data), "blue"])[0]
    assert {hit.index: np.float32(hit.score) for hit in ranked.results} == dict(enumerate(expected))
    assert ranked.usage.tokens_cached > 0
    assert [(one.index, one.id, one.code) for one in ranked.failures] == [(2, "never", 5)]
    assert evicted == 2
    assert [one.code for one in after.failures] == [5, 5, 5]


def test_a_stream_of_uploads_is_answered_as_it_goes(
    run: Any, builtin: Reranker, grpc_serving: Any
) -> None:
    async def ask() -> list[int]:
        async with grpc_serving(builtin) as channel:
            call = INDEX.stub(channel)()
            got = []
            for number in range(3):
                document = pb.Document(id=f"step {number}", content=text(f"number {number}"))
                await call.write(pb.IndexRequest(document=document))
                got.append((await call.read()).index)  # before the next is sent
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            return got

    assert run(ask()) == [0, 1, 2]


def test_every_call_is_counted_by_how_it_ended(
    run: Any, builtin: Reranker, grpc_serving: Any, recorder: Any, texts: list[str]
) -> None:
    token = "a-token-of-some-length"

    async def ask() -> None:
        async with grpc_serving(builtin, recorder, token=token) as channel:
            mine = (("authorization", f"Bearer {token}"),)
            rank = RERANK.stub(channel)
            await rank(asking("red", texts), metadata=mine)
            for request, metadata in ((asking("red", []), mine), (asking("red", texts), ())):
                with pytest.raises(grpc.aio.AioRpcError):
                    await rank(request, metadata=metadata)
            documents = (pb.IndexRequest(document=pb.Document(content=text("t"))) for _ in "ab")
            assert len([one async for one in INDEX.stub(channel)(documents, metadata=mine)]) == 2
            stream = RERANK_BATCH.stub(channel)(metadata=mine)
            await stream.wait_for_connection()
            stream.cancel()
            await channel.server._calls.finished()

    run(ask())
    codes = ["OK", "INVALID_ARGUMENT", "UNAUTHENTICATED"]
    expected = [("Rerank", code) for code in codes]
    assert recorder.answered[:4] == [*expected, ("IndexDocuments", "OK")]
    assert recorder.answered[4:] in ([], [("RerankBatch", "CANCELLED")])


def test_a_batch_answers_each_request_under_its_tag(
    run: Any, builtin: Reranker, grpc_serving: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with grpc_serving(builtin) as channel:
            requests = [
                pb.RerankBatchRequest(tag=tag, request=asking(f"query {tag}", texts[: tag % 5]))
                for tag in range(80)
            ]
            return {item.tag: item async for item in RERANK_BATCH.stub(channel)(iter(requests))}

    answers = run(ask())
    assert sorted(answers) == list(range(80))
    for tag, item in answers.items():
        if tag % 5:
            assert len(item.response.results) == tag % 5
        else:
            assert (item.error.code, item.WhichOneof("result")) == (3, "error")
    expected = builtin.rank("query 7", texts[:2])
    got = [hit.score for hit in answers[7].response.results]
    assert got == [hit.score for hit in expected]


def test_documents_come_back_without_their_media(
    run: Any, builtin: Reranker, grpc_serving: Any
) -> None:
    both = pb.Content(texts=["a caption"], images=[pb.Media(data=png(2))])
    request = asking("blue", [pb.Document(id="x", content=both)], return_documents=True, top_k=5)

    async def ask() -> Any:
        async with grpc_serving(builtin) as channel:
            return await RERANK.stub(channel)(request)

    (hit,) = run(ask()).results
    assert hit.document == pb.Document(id="x", content=text("a caption"))
    assert hit.id == "x"


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (pb.RerankRequest(query=text("q")), Code.INVALID_ARGUMENT, "at least one"),
        (asking("", ["a"]), Code.INVALID_ARGUMENT, "query 0"),
        (asking("q", ["a"] * 11), Code.INVALID_ARGUMENT, "at most 10"),
        (
            pb.RerankRequest(
                query=pb.Content(images=[pb.Media(uri="http://127.0.0.1/x.png")]),
                documents=[pb.Document(content=text("a"))],
            ),
            Code.INVALID_ARGUMENT,
            "",
        ),
        (asking("q", ["word " * 50_000]), Code.RESOURCE_EXHAUSTED, "larger than max"),
    ],
)
def test_what_is_wrong_with_a_call_is_in_its_status(
    run: Any, builtin: Reranker, grpc_serving: Any, request_: Any, code: Code, words: str
) -> None:
    async def ask() -> Any:
        async with grpc_serving(builtin, call_documents=10, message_bytes=200_000) as channel:
            return await status_of(RERANK.stub(channel)(request_))

    found, details = run(ask())
    assert found is code
    assert words in details


def test_a_document_that_cannot_be_fetched_or_is_empty_fails_alone(
    run: Any, builtin: Reranker, grpc_serving: Any
) -> None:
    away = pb.Document(content=pb.Content(images=[pb.Media(uri="file:///etc/passwd")]))

    async def ask() -> Any:
        async with grpc_serving(builtin) as channel:
            return await RERANK.stub(channel)(asking("q", [away, "sound", pb.Document()]))

    response = run(ask())
    assert [hit.index for hit in response.results] == [1]
    assert [(one.index, one.code) for one in response.failures] == [(0, 3), (2, 3)]


def test_overload_says_when_to_come_back(
    run: Any, builtin: Reranker, grpc_serving: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with grpc_serving(builtin, queue_documents=15, round_documents=5) as channel:
            calls = (RERANK.stub(channel)(asking("q", texts)) for _ in range(6))
            found = await asyncio.gather(*calls, return_exceptions=True)
            return [one for one in found if isinstance(one, grpc.aio.AioRpcError)]

    refused = run(ask())
    assert refused
    for error in refused:
        assert error.code() is Code.RESOURCE_EXHAUSTED
        trailers = dict(error.trailing_metadata())
        assert int(trailers["grpc-retry-pushback-ms"]) == 1_000 * int(trailers["retry-after"]) > 0


def test_a_deadline_ends_the_call_and_its_computation(
    run: Any, builtin: Reranker, grpc_serving: Any, recorder: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        config = {"round_documents": 1, "slice_documents": 1}
        async with grpc_serving(builtin, recorder, **config) as channel:
            call = RERANK.stub(channel)(asking("q", texts * 40), timeout=0.1)
            status = await status_of(call)
            while not recorder.ends:
                await asyncio.sleep(0.01)
            return status[0], channel.service.info().waiting

    assert run(ask()) == (Code.DEADLINE_EXCEEDED, 0)
    assert recorder.ends[0][1] in ("DEADLINE_EXCEEDED", "CANCELLED")
    assert sum(done.documents for done in recorder.rounds) < 40 * len(texts)


def test_a_cancelled_call_is_computed_no_further(
    run: Any, builtin: Reranker, grpc_serving: Any, recorder: Any, texts: list[str]
) -> None:
    async def ask() -> int:
        config = {"round_documents": 1, "slice_documents": 1}
        async with grpc_serving(builtin, recorder, **config) as channel:
            call = RERANK.stub(channel)(asking("q", texts * 40))
            recorder.on_round = call.cancel
            with pytest.raises(asyncio.CancelledError):
                await call
            while not recorder.ends:
                await asyncio.sleep(0.01)
            return int(channel.service.info().waiting)

    assert run(ask()) == 0
    assert recorder.ends[0][1] == "CANCELLED"
    assert sum(done.documents for done in recorder.rounds) < 40 * len(texts)


def test_info_names_the_model_but_no_path(run: Any, builtin: Reranker, grpc_serving: Any) -> None:
    async def ask() -> Any:
        async with grpc_serving(builtin) as channel:
            return await INFO.stub(channel)(pb.InfoRequest())

    info = run(ask())
    assert (info.model, info.profile, info.ready, info.max_documents) == (
        "reranker",
        "mini",
        True,
        1_000,
    )
    assert "/" not in str(info)
