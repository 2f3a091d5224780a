"""The clients: the library's answers through a server, its errors, and servers that come and go."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minireranker import Reranker
from minireranker.errors import (
    ConfigurationError,
    EmptyQueryError,
    InputError,
    MediaError,
    NoDocumentsError,
    UnknownDocumentError,
)
from minireranker.scenes import draw, random_scene
from minireranker.serve.client import Client
from minireranker.serve.client_async import AsyncClient
from minireranker.serve.client_messages import Id
from minireranker.serve.client_options import ClientOptions
from minireranker.serve.refusals import DeadlineError, NotReadyError, UnauthenticatedError
from minireranker.serve.retrying import Retries

TOKEN = "0123456789abcdef-a-good-token"
NO_RETRIES = Retries(attempts=1)


def png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.asarray(draw(random_scene(Random(seed))))).save(out, "PNG")
    return out.getvalue()


def test_it_ranks_texts_files_bytes_and_dicts_like_the_library(
    builtin: Reranker, address: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    given = [
        "a red circle",
        tmp_path / "a.png",
        png(2),
        {"text": "a caption", "image": png(3), "id": "both"},
        {"image": [png(1), png(2)]},
    ]
    with Client(address()) as client:
        got = client.rank("a red circle", given)
        top = client.rank({"image": png(1)}, given, top_k=2, instruction="Find the same picture.")
    own = builtin.rank("a red circle", given)
    assert [(hit.index, hit.id, hit.score, hit.probability) for hit in got.results] == [
        (hit.index, hit.id, hit.score, hit.probability) for hit in own
    ]
    expected = builtin.rank(png(1), given, top_k=2, instruction="Find the same picture.")
    assert [(h.index, h.score) for h in top.results] == [(h.index, h.score) for h in expected]
    assert got.timings.total > 0 < got.tokens.computed


def test_uploads_go_in_chunks_and_failures_keep_their_places(address: Any) -> None:
    documents: list[Any] = [{"id": f"n{n}", "text": f"number {n}"} for n in range(10)]
    documents[7] = {"id": "n7", "image": b"torn"}
    with Client(address(), ClientOptions(upload_documents=3)) as client:
        outcome = client.index(iter(documents))
        names = [name for name in outcome.ids if name is not None]
        ranked = client.rank("number 3", [Id(name) for name in (*names, "never")])
        assert client.evict([*names, "never"]) == 9
    assert outcome.ids == tuple(f"n{n}" if n != 7 else None for n in range(10))
    assert outcome.tokens.computed > 9
    assert outcome.timings.total >= outcome.timings.prefix > 0
    (bad,) = outcome.failed
    assert (bad.index, bad.id, type(bad.error)) == (7, "n7", InputError)
    assert len(ranked.results) == 9
    assert ranked.tokens.cached > 0
    assert [(one.index, type(one.error)) for one in ranked.failed] == [(9, UnknownDocumentError)]


def test_scores_are_put_together_from_as_many_calls_as_it_takes(
    builtin: Reranker, address: Any, texts: list[str]
) -> None:
    queries, documents = texts[:5], [*texts, b"torn"]
    small = address(call_queries=2, call_documents=7, queue_documents=10)
    with Client(small) as client:
        outcome = client.score(queries, documents)
        with pytest.raises(EmptyQueryError):
            client.score([], documents)
        with pytest.raises(NoDocumentsError):
            client.score(queries, [])
    assert np.array_equal(outcome.scores[:, :-1], builtin.score(queries, texts))
    assert np.isnan(outcome.scores[:, -1]).all()
    assert {one.index for one in outcome.failed} == {len(texts)}
    assert {one.query for one in outcome.failed} == {None}


def test_a_tenant_with_a_quota_is_told_it_and_gets_its_scores_in_blocks_below_it(
    builtin: Reranker, address: Any, texts: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text(f'[acme]\ntoken = "{TOKEN}"\nqueue_documents = 4')
    with Client(address(tenants=file), ClientOptions(token=TOKEN)) as client:
        assert client.info().queue_documents == 4
        scores = client.score(texts[:2], texts).scores
    assert np.array_equal(scores, builtin.score(texts[:2], texts))


def test_asyncio_has_the_same_methods_and_answers(
    run: Any, builtin: Reranker, grpc_serving: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with (
            grpc_serving(builtin) as channel,
            AsyncClient(f"127.0.0.1:{channel.server.port}") as client,
        ):
            indexed = await client.index([{"id": "async", "text": "blue"}])
            ranked = await asyncio.gather(*(client.rank(text, texts) for text in texts))
            scores = await client.score(texts[:2], texts)
            by_id = await client.rank("blue", [Id("async")])
            gone = await client.evict(["async"])
            return indexed, ranked, scores, by_id, gone, await client.info()

    indexed, ranked, scores, by_id, gone, info = run(ask())
    assert (indexed.ids, gone, info.model) == (("async",), 1, "reranker")
    assert by_id.results[0].id == "async"
    expected = builtin.score(texts, texts)
    for row, outcome in zip(expected, ranked, strict=True):
        assert {hit.index: np.float32(hit.score) for hit in outcome.results} == dict(enumerate(row))
    assert np.array_equal(scores.scores, expected[:2])
    methods = {name for name in vars(Client) if not name.startswith("_")}
    assert methods == {name for name in vars(AsyncClient) if not name.startswith("_")}


def test_errors_come_as_the_librarys(address: Any, tmp_path: Path) -> None:
    server = address(token=TOKEN, call_documents=5)
    with Client(server, ClientOptions(token=TOKEN)) as client:
        with pytest.raises(InputError, match="at most 5"):
            client.rank("q", ["a"] * 6)
        with pytest.raises(InputError, match="query 0"):
            client.rank(" ", ["a"])
        with pytest.raises(InputError, match="lone surrogate"):
            client.rank("\ud800", ["a"])
        with pytest.raises(InputError, match=r"missing\.png.*check the path"):
            client.rank("q", [tmp_path / "missing.png"])
        with pytest.raises(InputError, match="unknown field"):
            client.rank("q", [{"txt": "a"}])
    with (
        Client(server, ClientOptions(token=TOKEN[:-1] + "x")) as client,
        pytest.raises(UnauthenticatedError),
    ):
        client.info()
    with (
        Client("127.0.0.1:1", ClientOptions(retries=NO_RETRIES)) as client,
        pytest.raises(NotReadyError),
    ):
        client.info()


def test_an_upload_that_is_refused_while_it_is_sent_says_why(
    run: Any, builtin: Reranker, address: Any
) -> None:
    server, options = address(token=TOKEN), ClientOptions(token=TOKEN[:-1] + "x")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8))

    async def upload() -> None:
        async with AsyncClient(server, options) as client:
            await client.index([noise] * 12)

    for _ in range(10):
        with pytest.raises(UnauthenticatedError):
            run(upload())
    with Client(server, options) as client, pytest.raises(UnauthenticatedError):
        client.index([noise] * 12)


def test_a_deadline_is_for_all_attempts_together(address: Any) -> None:
    with (
        Client("127.0.0.1:1", ClientOptions(timeout=0.5)) as client,
        pytest.raises((NotReadyError, DeadlineError)),
    ):
        client.info()
    slow = address(round_documents=1, slice_documents=1)
    with Client(slow, ClientOptions(timeout=0.05)) as client, pytest.raises(DeadlineError):
        client.rank("q", ["word " * 400] * 900)


def test_overload_is_waited_out(run: Any, builtin: Reranker, grpc_serving: Any) -> None:
    texts = [f"number {n}" for n in range(10)]

    async def ask() -> Any:
        async with grpc_serving(builtin, queue_documents=20, round_documents=10) as channel:
            options = ClientOptions(timeout=None)
            async with AsyncClient(f"127.0.0.1:{channel.server.port}", options) as client:
                return await asyncio.gather(*(client.rank("q", texts) for _ in range(8)))

    assert [len(outcome.results) for outcome in run(ask())] == [10] * 8


def test_what_does_not_fit_together_is_said_before_the_first_call(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="come together"):
        ClientOptions(key=tmp_path / "key.pem")
    with pytest.raises(ConfigurationError, match="timeout = 0"):
        ClientOptions(timeout=0)
    with pytest.raises(ConfigurationError, match=r"ca\.pem.*check the path"):
        Client("localhost:1", ClientOptions(ca=tmp_path / "ca.pem"))


def test_media_errors_of_the_server_are_input_errors_of_the_client(address: Any) -> None:
    assert issubclass(MediaError, InputError)
    with Client(address()) as client, pytest.raises(InputError, match="image"):
        client.rank(b"no picture", ["a"])
