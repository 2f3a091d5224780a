"""The cache folder goes away or fills up while the server runs: answers stay the library's."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from minireranker import Reranker
from minireranker.cache import Cache
from minireranker.serve.generated import reranker_pb2 as pb
from minireranker.serve.grpc_methods import INDEX, RERANK

QUERY = "a red circle"
SMALL = {"round_documents": 8, "slice_documents": 8}


def document(number: int) -> pb.Document:
    return pb.Document(id=f"d{number}", content=pb.Content(texts=[f"circle {number}"]))


def asking(documents: list[pb.Document]) -> pb.RerankRequest:
    return pb.RerankRequest(query=pb.Content(texts=[QUERY]), documents=documents)


@pytest.fixture(params=[0, 2**28], ids=["no memory", "memory"])
def cached(request: Any, tmp_path: Path) -> Iterator[Reranker]:
    """A reranker with a cache folder, and with memory to keep entries in or without."""
    with Cache(tmp_path / "cache", memory_bytes=request.param) as cache:
        yield Reranker.from_pretrained("builtin", dtype="float32", cache=cache)


async def indexed(channel: Any, numbers: range) -> list[str]:
    uploads = (pb.IndexRequest(document=document(number)) for number in numbers)
    call = INDEX.stub(channel)(uploads)
    return [result.id async for result in call]


@contextlib.contextmanager
def full() -> Iterator[None]:
    """No file may grow beyond a byte: as on a full disk, without being root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def remove(folder: Path) -> None:
    """File by file, begun anew where somebody who writes into it keeps that from its end."""
    for _ in range(1_000):
        with contextlib.suppress(OSError):
            return shutil.rmtree(folder)
    raise AssertionError(f"{folder} is written to faster than it is removed")


def check(answer: Any, numbers: range, builtin: Reranker) -> None:
    """Every score is the library's; whoever has none was known by an id that is gone."""
    expected = builtin.score(QUERY, [f"circle {number}" for number in numbers])[0]
    scores = {hit.index: np.float32(hit.score) for hit in answer.results}
    gone = {one.index for one in answer.failures}
    assert all(one.code == grpc.StatusCode.NOT_FOUND.value[0] for one in answer.failures)
    assert scores == {at: score for at, score in enumerate(expected) if at not in gone}
    assert scores.keys() | gone == set(range(len(numbers)))


def test_the_folder_is_removed_under_load(
    run: Any, builtin: Reranker, grpc_serving: Any, cached: Reranker
) -> None:
    known, fresh = range(24), range(24, 48)

    async def ask() -> Any:
        async with grpc_serving(cached, **SMALL) as channel:
            stub = RERANK.stub(channel)
            assert await indexed(channel, known) == [f"d{number}" for number in known]
            by_id = asking([pb.Document(id=f"d{number}") for number in known])
            whole = asking([document(number) for number in known])
            new = asking([document(number) for number in fresh])
            calls = [asyncio.ensure_future(stub(one)) for one in [by_id, whole, new] * 4]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            remove(cached.cache.disk.path)  # type: ignore[union-attr]
            answers = await asyncio.gather(*calls)
            again = await indexed(channel, known)
            return answers, again, await stub(whole), await stub(new), await stub(by_id)

    answers, again, whole, new, by_id = run(ask())
    for number, answer in enumerate(answers):
        check(answer, fresh if number % 3 == 2 else known, builtin)
        assert number % 3 == 0 or not answer.failures
    assert again == [f"d{number}" for number in known]
    for answer, numbers in ((whole, known), (new, fresh), (by_id, known)):
        check(answer, numbers, builtin)
    assert not [*whole.failures, *new.failures]


def test_the_disk_is_full(run: Any, builtin: Reranker, grpc_serving: Any, cached: Reranker) -> None:
    known, fresh = range(24), range(24, 48)

    async def ask() -> Any:
        async with grpc_serving(cached, **SMALL) as channel:
            stub = RERANK.stub(channel)
            await indexed(channel, known)
            by_id = asking([pb.Document(id=f"d{number}") for number in known])
            new = asking([document(number) for number in fresh])
            with full():
                calls = (stub(one) for one in [by_id, new] * 4)
                answers = await asyncio.gather(*calls)
                late = await indexed(channel, fresh)
                missed = cached.cache.stats.disk.errors  # type: ignore[union-attr]
            return answers, late, missed, await stub(by_id)

    answers, late, missed, after = run(ask())
    for number, answer in enumerate(answers):
        check(answer, fresh if number % 2 else known, builtin)
        assert not answer.failures
    assert late == [f"d{number}" for number in fresh]
    assert missed > 0
    check(after, known, builtin)
    assert not after.failures
