"""What the service promises: the library's scores, failures apart, deadlines, leaving, draining."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
import weakref
from random import Random
from typing import Any

import numpy as np
import pytest

from minireranker import Document, DocumentId, Reranker
from minireranker.errors import (
    ConfigurationError,
    EmptyQueryError,
    InputError,
    MediaError,
    NoDocumentsError,
    UnknownDocumentError,
)
from minireranker.scenes import draw, random_scene
from minireranker.serve.engine import in_thread
from minireranker.serve.jobs import Job, Refused
from minireranker.serve.refusals import DeadlineError, NotReadyError, QueueFullError


def pictures(count: int, seed: int) -> list[Any]:
    random = Random(seed)
    return [draw(random_scene(random)) for _ in range(count)]


def test_scores_are_the_librarys_bit_for_bit_however_the_rounds_are_cut(
    run: Any, builtin: Reranker, serving: Any, rerank: Any, texts: list[str]
) -> None:
    documents = [*texts, *(Document(image=one) for one in pictures(4, 1))]
    queries = ["a red circle", "a blue cross above a square"]
    expected = builtin.score(queries, documents)

    async def ask() -> list[Any]:
        async with serving(builtin, round_documents=7, slice_documents=3) as service:
            jobs = [rerank(documents, query) for query in queries]
            return await asyncio.gather(*map(service.rerank, jobs))

    for row, outcome in zip(expected, run(ask()), strict=True):
        got = {hit.index: np.float32(hit.score) for hit in outcome.results}
        assert np.array_equal([got[index] for index in range(len(documents))], row)
        assert [h.index for h in outcome.results] == sorted(got, key=lambda i: (-row[i], i))
        for hit in outcome.results:
            assert hit.probability == pytest.approx(1 / (1 + np.exp(-hit.score)))


def test_many_queries_for_many_documents_are_the_librarys_scores(
    run: Any, builtin: Reranker, serving: Any, texts: list[str]
) -> None:
    queries = tuple(texts[:3])

    async def ask() -> Any:
        async with serving(builtin, round_documents=8, slice_documents=8) as service:
            return await service.score(Job("score", tuple(texts), queries))

    outcome = run(ask())
    assert np.array_equal(outcome.scores, builtin.score(queries, texts))
    assert outcome.scores.dtype == np.float32


def test_who_asks_again_at_once_is_slowed_down(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, rerank: Any, texts: list[str]
) -> None:
    """Else its refusals take the time, and the lock, that the engine needs."""

    async def ask() -> float:
        async with serving(builtin, recorder, queue_documents=len(texts)) as service:
            admitted = asyncio.ensure_future(service.rerank(rerank(texts)))
            await asyncio.sleep(0)
            start = time.monotonic()
            refused = await asyncio.gather(
                service.rerank(rerank(texts)),
                service.check_room("rerank", 1, len(texts)),
                return_exceptions=True,
            )
            waited = time.monotonic() - start
            assert [type(one) for one in refused] == [QueueFullError] * 2
            assert len((await admitted).results) == len(texts)
            return waited

    assert run(ask()) > 0.15
    assert recorder.refused == ["RESOURCE_EXHAUSTED"] * 2


def test_requests_share_rounds_and_the_engine_sees_them_together(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, rerank: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with serving(builtin, recorder) as service:
            return await asyncio.gather(*(service.rerank(rerank(texts[:4])) for _ in range(8)))

    run(ask())
    assert (recorder.rounds[0].jobs, recorder.rounds[0].documents) == (8, 32)
    assert len(recorder.rounds) == 1
    assert max(recorder.depths) == 32
    assert recorder.depths[-1] == 0


def test_a_bad_document_fails_alone(
    run: Any, builtin: Reranker, serving: Any, rerank: Any, texts: list[str]
) -> None:
    torn = Document(id="torn", image=b"\x89PNG\r\n\x1a\n and no more")
    early = Refused(InputError("refused before"), "early")
    documents = [texts[0], torn, early, DocumentId("never indexed"), texts[1]]

    async def ask() -> Any:
        async with serving(builtin) as service:
            return await service.rerank(rerank(documents))

    outcome = run(ask())
    assert {hit.index for hit in outcome.results} == {0, 4}
    failed = [(one.index, one.id, type(one.error)) for one in outcome.failed]
    assert failed == [
        (1, "torn", MediaError),
        (2, "early", InputError),
        (3, "never indexed", UnknownDocumentError),
    ]


def test_a_bad_query_fails_its_request_and_no_other_of_the_round(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, rerank: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with serving(builtin, recorder) as service:
            asked = ["a red circle", "", {"image": b"junk"}, "blue", "bad \ud800"]
            jobs = (service.rerank(rerank(texts[:3], query)) for query in asked)
            return await asyncio.gather(*jobs, return_exceptions=True)

    good, empty, junk, blue, lone = run(ask())
    assert [type(one) for one in (empty, junk, lone)] == [EmptyQueryError, MediaError, InputError]
    assert len(recorder.rounds) == 1
    expected = builtin.score(["a red circle", "blue"], texts[:3])
    for row, outcome in zip(expected, (good, blue), strict=True):
        assert {hit.index: np.float32(hit.score) for hit in outcome.results} == dict(enumerate(row))


def test_a_bad_query_of_several_is_named_by_its_place(
    run: Any, builtin: Reranker, serving: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with serving(builtin) as service:
            jobs = (Job("score", ("a", "b"), ("x", "y", query)) for query in ("", "z"))
            return await asyncio.gather(*map(service.score, jobs), return_exceptions=True)

    bad, good = run(ask())
    assert isinstance(bad, EmptyQueryError)
    assert "query 2 " in str(bad)
    assert good.scores.shape == (3, 2)


@pytest.mark.parametrize(
    ("job", "error", "words"),
    [
        (Job("rerank", (), ("q",)), NoDocumentsError, "pass at least one"),
        (Job("rerank", ("a",) * 11, ("q",)), InputError, "11 documents in one call: at most 10"),
        (Job("score", ("a",), ("q",) * 4), InputError, "4 queries in one call: at most 3"),
        (
            Job("score", ("a",) * 9, ("q",) * 3),
            InputError,
            "3 queries for 9 documents: at most 20 pairs",
        ),
        (Job("score", ("a",), ()), EmptyQueryError, "no queries"),
        (Job("rerank", ("a",), ("q",), top_k=-1), ConfigurationError, "top_k = -1"),
    ],
)
def test_what_can_never_be_served_is_refused_at_once(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, job: Job, error: Any, words: str
) -> None:
    limits = {"max_documents": 10, "max_queries": 3, "queue_documents": 20}

    async def ask() -> None:
        async with serving(builtin, recorder, **limits) as service:
            with pytest.raises(error, match=words):
                await getattr(service, job.kind)(job)

    run(ask())
    assert (recorder.refused, recorder.ends) == (["INVALID_ARGUMENT"], [])


def test_top_k_ids_timings_and_tokens(
    run: Any, builtin: Reranker, serving: Any, rerank: Any
) -> None:
    documents = [Document(id=f"d{n}", text=f"only here {n} circle") for n in range(6)]

    async def ask() -> Any:
        async with serving(builtin) as service:
            cold = await service.rerank(rerank(documents, top_k=2))
            return cold, await service.rerank(rerank(documents, top_k=2))

    cold, warm = run(ask())
    best = builtin.rank("a red circle", documents, top_k=2)
    assert [(hit.index, hit.id, hit.score) for hit in warm.results] == [
        (hit.index, hit.id, hit.score) for hit in best
    ]
    assert cold.tokens.cached == 0
    assert warm.tokens.cached > 0
    pairs = warm.tokens.computed
    assert cold.tokens.computed == pairs + warm.tokens.cached
    for times in (cold.timings, warm.timings):
        assert times.total >= times.queue + times.inputs + times.prefix + times.suffix > 0
    assert cold.timings.prefix > 0


def test_cache_figures_can_be_kept_from_callers(
    run: Any, builtin: Reranker, serving: Any, rerank: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with serving(builtin, show_cache_to={"guest": False}) as service:
            asked = ("guest", "guest", "friend", "friend")
            return [await service.rerank(rerank(texts, tenant=name)) for name in asked]

    first, second, *friends = run(ask())
    assert first.tokens == second.tokens
    assert [one.tokens.cached > 0 for one in friends] == [False, True]
    assert second.tokens.cached == second.timings.prefix == 0
    assert second.timings.total > 0


def test_indexing_evicting_and_tenants_who_do_not_meet(
    run: Any, builtin: Reranker, serving: Any, rerank: Any
) -> None:
    picture = Document(id="mine", image=pictures(1, 5)[0])
    torn = Document(id="torn", image=b"junk")

    async def ask() -> Any:
        async with serving(builtin) as service:
            job = Job("index", (picture, torn, "a text without an id"), tenant="a")
            indexed = await service.index(job)
            known = rerank([DocumentId("mine")], tenant="a")
            mine = await service.rerank(known)
            theirs = await service.rerank(rerank([DocumentId("mine")], tenant="b"))
            gone = await service.evict(["mine", "never"], "a"), await service.evict(["mine"], "b")
            return indexed, mine, theirs, gone, await service.rerank(known)

    indexed, mine, theirs, gone, after = run(ask())
    assert indexed.ids[:2] == ("mine", None)
    assert len(indexed.ids[2]) == 64
    assert [(one.index, one.id) for one in indexed.failed] == [(1, "torn")]
    assert mine.results[0].score == builtin.score("a red circle", [picture])[0, 0]
    assert mine.tokens.cached > 0
    assert isinstance(theirs.failed[0].error, UnknownDocumentError)
    assert gone == (1, 0)
    assert isinstance(after.failed[0].error, UnknownDocumentError)


def test_what_would_take_too_long_is_refused_by_the_pace_of_real_rounds(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, rerank: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with serving(builtin, recorder, queue_seconds=1e-4) as service:
            alone = await service.rerank(rerank(texts))
            both = (service.rerank(rerank(texts)) for _ in range(2))
            return alone, *await asyncio.gather(*both, return_exceptions=True)

    alone, first, second = run(ask())
    assert len(alone.results) == len(first.results) == len(texts)
    assert isinstance(second, QueueFullError)
    assert "what is waiting takes about" in str(second)
    assert recorder.refused == ["RESOURCE_EXHAUSTED"]


def test_a_refusal_leaves_nothing_behind_and_comes_before_the_deadline(
    run: Any, builtin: Reranker, serving: Any, rerank: Any, texts: list[str]
) -> None:
    async def refused(service: Any) -> Any:
        job = rerank(texts, deadline=time.monotonic() + 0.1)
        with contextlib.suppress(QueueFullError):
            await service.rerank(job)
        assert time.monotonic() < job.deadline
        return weakref.ref(job)

    async def ask() -> Any:
        async with serving(builtin, queue_documents=len(texts)) as service:
            held, release = threading.Event(), threading.Event()
            service._engine.worker.submit(lambda: held.set() or release.wait(300))
            admitted = asyncio.ensure_future(service.rerank(rerank(texts)))
            await asyncio.sleep(0)
            gc.disable()
            try:
                left = [await refused(service) for _ in range(3)]
                alive = [one for one in left if one() is not None]
            finally:
                gc.enable()
                release.set()
            assert len((await admitted).results) == len(texts)
            return alive

    assert run(ask()) == []


def test_overload_is_refused_and_the_queue_stays_bounded(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, rerank: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with serving(builtin, recorder, queue_documents=40, round_documents=10) as service:
            jobs = (service.rerank(rerank(texts[:10])) for _ in range(20))
            return await asyncio.gather(*jobs, return_exceptions=True)

    answers = run(ask())
    refused = [one for one in answers if isinstance(one, QueueFullError)]
    assert len(refused) == len(recorder.refused) == 16
    assert all(one.retry_after >= 1 for one in refused)
    assert [len(one.results) for one in answers if one not in refused] == [10] * 4
    assert max(recorder.depths) <= 40


def test_a_deadline_is_kept_in_the_queue_and_between_rounds(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, rerank: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with serving(builtin, recorder, round_documents=2, slice_documents=2) as service:
            with pytest.raises(DeadlineError):
                await service.rerank(rerank(texts, deadline=time.monotonic()))
            assert recorder.refused == ["DEADLINE_EXCEEDED"]
            late = rerank(texts * 20, deadline=time.monotonic() + 0.05, request_id="late")
            with pytest.raises(DeadlineError, match="deadline passed"):
                await service.rerank(late)
            return await service.rerank(rerank(texts, request_id="next"))

    assert len(run(ask()).results) == len(texts)
    assert recorder.ends == [("late", "DEADLINE_EXCEEDED"), ("next", "OK")]
    assert sum(done.documents for done in recorder.rounds) < 20 * len(texts)


def test_a_call_that_is_cancelled_stops_being_computed(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, rerank: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with serving(builtin, recorder, round_documents=5, slice_documents=5) as service:
            call = asyncio.create_task(service.rerank(rerank(texts * 20, request_id="left")))
            recorder.on_round = call.cancel
            with pytest.raises(asyncio.CancelledError):
                await call
            assert service.info().waiting == 0
            assert len(recorder.rounds) == 1
            return await service.rerank(rerank(texts[:5], request_id="stayed"))

    assert len(run(ask()).results) == 5
    assert recorder.ends == [("left", "CANCELLED"), ("stayed", "OK")]
    # The first round, at most the one that was dealt before the caller was gone, and the last.
    assert sum(done.documents for done in recorder.rounds) <= 15


def test_a_small_request_is_not_kept_waiting_by_a_long_one(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, rerank: Any, texts: list[str]
) -> None:
    async def ask() -> None:
        async with serving(builtin, recorder, round_documents=10, slice_documents=5) as service:
            long = service.rerank(rerank(texts * 10, request_id="long"))
            small = service.rerank(rerank(texts[:3], request_id="small"))
            await asyncio.gather(long, small)

    run(ask())
    assert recorder.ends == [("small", "OK"), ("long", "OK")]


def test_nothing_is_taken_before_the_start_and_the_warm_up_is_real(
    run: Any, builtin: Reranker, rerank: Any, texts: list[str]
) -> None:
    from minireranker.serve.service import Service

    async def ask() -> Any:
        service = Service(in_thread(builtin))
        with pytest.raises(NotReadyError):
            await service.rerank(rerank(texts))
        with pytest.raises(NotReadyError):
            await service.evict(["a"])
        ready = [service.ready()]
        await service.start()
        ready.append(service.info().ready)
        return [*ready, await service.drain(1), service.ready()]

    before = builtin.cache.stats.memory
    assert run(ask()) == [False, True, True, False]
    after = builtin.cache.stats.memory
    assert (after.hits + after.misses) > (before.hits + before.misses)


def test_a_drain_finishes_what_was_admitted_and_takes_nothing_new(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, rerank: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with serving(builtin, recorder, round_documents=5, slice_documents=5) as service:
            calls = [asyncio.create_task(service.rerank(rerank(texts))) for _ in range(4)]
            await asyncio.sleep(0)
            drained = asyncio.create_task(service.drain(30))
            await asyncio.sleep(0)
            with pytest.raises(NotReadyError):
                await service.rerank(rerank(texts))
            return await asyncio.gather(drained, *calls)

    drained, *answers = run(ask())
    assert drained is True
    assert [len(one.results) for one in answers] == [len(texts)] * 4


def test_a_round_that_nobody_waits_for_holds_up_no_answer_at_the_end(
    run: Any, builtin: Reranker, serving: Any, rerank: Any, texts: list[str]
) -> None:
    held, release = threading.Event(), threading.Event()

    async def ask() -> Any:
        async with serving(builtin) as service:
            service._engine.worker.submit(held.set)
            long = service._engine.worker.submit(release.wait, 300)
            await asyncio.to_thread(held.wait, 300)
            drained = asyncio.create_task(service.drain(30))
            await asyncio.sleep(0.05)
            release.set()  # by the loop, which has to be free for it
            return await drained, long.result()

    assert run(ask()) == (True, True)


def test_a_drain_that_runs_out_of_time_says_so_to_those_left(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, rerank: Any, texts: list[str]
) -> None:
    async def ask() -> Any:
        async with serving(builtin, recorder, round_documents=2, slice_documents=2) as service:
            call = asyncio.create_task(service.rerank(rerank(texts * 20)))
            await asyncio.sleep(0)
            finished = await service.drain(0.0)
            return finished, await asyncio.gather(call, return_exceptions=True)

    finished, (error,) = run(ask())
    assert finished is False
    assert isinstance(error, NotReadyError)


def test_a_fault_of_the_engine_ends_its_request_only(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, rerank: Any, texts: list[str]
) -> None:
    def exhausted() -> Any:
        raise MemoryError("no room for it")

    async def ask() -> Any:
        async with serving(builtin, recorder) as service:
            asked = [
                rerank([Document(image=exhausted), texts[0]], request_id="bad"),
                rerank(texts[:2], request_id="good"),
            ]
            both = asyncio.gather(*map(service.rerank, asked), return_exceptions=True)
            return await both

    bad, good = run(ask())
    assert isinstance(bad, MemoryError)
    assert len(good.results) == 2
    assert sorted(recorder.ends) == [("bad", "INTERNAL"), ("good", "OK")]
    assert len(recorder.rounds) == 1


def test_what_the_next_round_takes_of_a_call_is_waited_for(
    run: Any, builtin: Reranker, serving: Any, rerank: Any, texts: list[str]
) -> None:
    """Answers are written while the next round runs: of those who are done, not of who is in it."""

    async def ask() -> Any:
        async with serving(builtin, round_documents=4, slice_documents=4) as service:
            jobs = [rerank(texts[:count], query=f"a {count}") for count in (6, 7, 2, 15, 5)]
            return await asyncio.gather(*(service.rerank(job) for job in jobs))

    for count, outcome in zip((6, 7, 2, 15, 5), run(ask()), strict=True):
        scores = {hit.index: np.float32(hit.score) for hit in outcome.results}
        assert scores == dict(enumerate(builtin.score([f"a {count}"], texts[:count])[0]))
