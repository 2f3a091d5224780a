"""Streams: batches that wait for nobody, answers in flight within a bound, none of them lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from minireranker.serve.fan import fan_out
from minireranker.serve.generated import reranker_pb2 as pb
from minireranker.serve.streams import batches


def message(size: int = 1) -> pb.EvictRequest:
    return pb.EvictRequest(ids=["x" * size])


async def all_at_once(count: int, size: int = 1) -> AsyncIterator[pb.EvictRequest]:
    for _ in range(count):
        yield message(size)


def test_what_is_there_goes_together_up_to_a_number(run: Any) -> None:
    async def sizes() -> list[int]:
        given = batches(all_at_once(10), most=4, most_bytes=2**20, patience=60)
        return [len(batch) async for batch in given]

    assert run(sizes()) == [4, 4, 2]


def test_a_batch_ends_at_its_bytes(run: Any) -> None:
    async def sizes() -> list[int]:
        given = batches(all_at_once(5, 100), most=100, most_bytes=200, patience=60)
        return [len(batch) async for batch in given]

    assert run(sizes()) == [2, 2, 1]


def test_a_batch_does_not_wait_for_what_has_not_been_sent(run: Any) -> None:
    async def sizes() -> list[int]:
        answered = asyncio.Event()

        async def ask_and_wait() -> AsyncIterator[pb.EvictRequest]:
            yield message()
            yield message()
            await answered.wait()
            yield message()

        found = []
        async for batch in batches(ask_and_wait(), most=10, most_bytes=2**20, patience=0.01):
            found.append(len(batch))
            answered.set()
        return found

    assert run(sizes()) == [2, 1]


def test_answers_come_as_they_are_done_and_no_more_are_read_than_fit(run: Any) -> None:
    async def ask() -> tuple[list[int], int]:
        under_way = most = 0
        late = asyncio.Event()

        async def answer(number: int) -> int:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            if number == 0:
                await late.wait()
            await asyncio.sleep(0.02)
            under_way -= 1
            return number

        async def numbers() -> AsyncIterator[int]:
            for number in range(1, 21):
                yield number - 1

        found = []
        async for number in fan_out(numbers(), answer, 3):
            found.append(number)
            if len(found) == 19:
                late.set()
        return found, most

    found, most = run(ask())
    assert found[-1] == 0
    assert sorted(found) == list(range(20))
    assert most == 3


def test_what_is_under_way_is_answered_before_an_end_with_an_error(run: Any) -> None:
    async def ask() -> list[int]:
        async def numbers() -> AsyncIterator[int]:
            yield 1
            yield 2
            raise ValueError("the line is dead")

        async def answer(number: int) -> int:
            await asyncio.sleep(0.01)
            return number

        answers = fan_out(numbers(), answer, 5)
        found = [await anext(answers), await anext(answers)]
        with pytest.raises(ValueError, match="the line is dead"):
            await anext(answers)
        return found

    assert sorted(run(ask())) == [1, 2]


def test_leaving_early_cancels_the_rest(run: Any) -> None:
    async def ask() -> list[str]:
        ends: list[str] = []

        async def numbers() -> AsyncIterator[int]:
            for number in range(3):
                yield number

        async def answer(number: int) -> int:
            try:
                await asyncio.sleep(0.05 if number == 0 else 1_000)
            except asyncio.CancelledError:
                ends.append(f"{number} cancelled")
                raise
            return number

        answers = fan_out(numbers(), answer, 3)
        assert await anext(answers) == 0
        await answers.aclose()  # type: ignore[attr-defined]
        for _ in range(10):
            await asyncio.sleep(0)
        return ends

    assert set(run(ask())) == {"1 cancelled", "2 cancelled"}
