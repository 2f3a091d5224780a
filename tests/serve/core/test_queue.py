"""Whose turn it is: bounds, quotas, slices, tenants. No engine, no thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.engine.content import DocumentId
from minireranker.errors import ConfigurationError, InputError
from minireranker.serve.jobs import Job, Refused
from minireranker.serve.options import ServiceOptions
from minireranker.serve.queue import Queue
from minireranker.serve.refusals import QueueFullError
from minireranker.serve.ticket import Ticket

LOOP = asyncio.new_event_loop()


@pytest.fixture(scope="module", autouse=True)
def _close() -> Iterator[None]:
    yield
    LOOP.close()


def ticket(documents: int, tenant: str = "", queries: int = 1, **fields: object) -> Ticket:
    texts = tuple(f"document {index}" for index in range(documents))
    kind = "rerank" if queries == 1 else "score"
    job = Job(kind, texts, ("query",) * queries, tenant=tenant, **fields)  # type: ignore[arg-type]
    return Ticket(job, LOOP.create_future())


def queue_of(*tickets: Ticket, **options: object) -> Queue:
    queue = Queue(ServiceOptions(**options))  # type: ignore[arg-type]
    for one in tickets:
        queue.add(one)
    return queue


def next_round(queue: Queue) -> list[tuple[Ticket, int]]:
    dealt = queue.deal()
    assert len(queue.take(dealt)) == len(dealt)
    return dealt


def test_the_longest_waiting_comes_first_and_small_ones_share_its_round() -> None:
    big, small, other = ticket(100), ticket(5), ticket(5)
    queue = queue_of(big, small, other, round_documents=64, slice_documents=16)
    assert next_round(queue) == [(big, 54), (small, 5), (other, 5)]
    assert queue.waiting == 46


def test_a_long_request_takes_a_slice_of_each_round_and_goes_behind() -> None:
    big, later = ticket(60), [ticket(10) for _ in range(4)]
    queue = queue_of(big, *later, round_documents=32, slice_documents=16)
    assert next_round(queue) == [(big, 16), (later[0], 10), (later[1], 6)]
    # Cut by the end of the round, not by its slice: later[1] keeps its place.
    assert next_round(queue) == [(later[1], 4), (later[2], 10), (later[3], 10), (big, 8)]
    assert next_round(queue) == [(big, 32)]
    assert next_round(queue) == [(big, 4)]
    assert next_round(queue) == []


def test_indexed_documents_fill_the_rounds_of_a_full_queue() -> None:
    ids = tuple(DocumentId(f"d{index}") for index in range(16))
    jobs = [Job("rerank", ids, ("query",)) for _ in range(64)]
    queue = queue_of(*(Ticket(job, LOOP.create_future()) for job in jobs))
    rounds = [sum(count for _, count in next_round(queue)) for _ in range(4)]
    assert rounds == [256] * 4
    assert queue.waiting == 0


def test_tenants_have_their_turns_however_much_one_of_them_asks() -> None:
    greedy = [ticket(30, "greedy") for _ in range(6)]
    modest = ticket(30, "modest")
    queue = queue_of(*greedy, modest, round_documents=30, slice_documents=30)
    turns = [next_round(queue)[0][0] for _ in range(3)]
    assert turns == [greedy[0], modest, greedy[1]]


def test_who_was_away_does_not_catch_up() -> None:
    busy = [ticket(10, "busy") for _ in range(8)]
    queue = queue_of(ticket(10, "guest"), *busy, round_documents=10, slice_documents=10)
    for _ in range(6):
        next_round(queue)
    guest = [ticket(10, "guest") for _ in range(3)]
    for one in guest:
        queue.add(one)
    # The five rounds that "busy" had alone meanwhile are not made up for.
    rest = [next_round(queue)[0][0] for _ in range(4)]
    assert rest == [busy[5], guest[0], busy[6], guest[1]]


def test_requests_of_another_instruction_or_kind_are_not_in_the_round() -> None:
    one, other = ticket(2, instruction="find"), ticket(2, instruction="compare")
    index = Ticket(Job("index", ("a text",)), LOOP.create_future())
    queue = queue_of(one, other, index, ticket(1, instruction="find"))
    assert [[t.job.instruction for t, _ in next_round(queue)] for _ in range(3)] == [
        ["find", "find"],
        ["compare"],
        [None],
    ]


def test_a_document_costs_as_much_as_it_has_queries() -> None:
    queue = queue_of(ticket(10, queries=8), round_documents=20, slice_documents=20)
    assert queue.waiting == 80
    assert [count for _, count in next_round(queue)] == [2]
    wide = queue_of(ticket(3, queries=50), round_documents=20, slice_documents=20)
    assert [count for _, count in next_round(wide)] == [1]


def test_a_round_ends_at_its_tokens_but_never_empty() -> None:
    long = Job("rerank", ("word " * 3_000,) * 3, ("query",))
    queue = queue_of(Ticket(long, LOOP.create_future()), round_tokens=4_000)
    assert [count for _, count in next_round(queue)] == [1]


def test_who_fills_a_round_alone_goes_behind_however_few_documents_that_were() -> None:
    long = Job("index", ("word " * 3_000,) * 3)
    big, small = Ticket(long, LOOP.create_future()), ticket(2)
    queue = queue_of(big, small, round_tokens=4_000)
    assert [next_round(queue)[0][0] for _ in range(4)] == [big, small, big, big]


def paced(seconds: float = 1.0, **options: object) -> Queue:
    """Of a server that ranks ten texts in so long, every time."""
    queue = queue_of(**options)
    for _ in range(50):
        rank_round(queue, ticket(10), seconds)
    return queue


def rank_round(queue: Queue, one: Ticket, seconds: float) -> None:
    queue.add(one)
    next_round(queue)
    queue.round_over(seconds)


def fits(queue: Queue, one: Ticket) -> bool:
    try:
        queue.add(one)
    except QueueFullError:
        return False
    queue.remove(one)
    return True


def test_documents_over_the_bound_are_refused_and_told_when_to_come_back() -> None:
    queue = paced(0.5, queue_documents=100)
    queue.add(ticket(60))
    with pytest.raises(QueueFullError, match=r"60 documents are waiting; try again in 3 s") as full:
        queue.add(ticket(41))
    assert full.value.retry_after == pytest.approx(3.0)
    queue.add(ticket(40))
    assert queue.waiting == 100


def test_work_over_the_seconds_is_refused_but_never_where_nobody_waits() -> None:
    queue = paced(queue_seconds=2.0)
    queue.add(ticket(60))
    with pytest.raises(QueueFullError, match=r"takes about 6\.0 s; try again in 6 s"):
        queue.add(ticket(1))
    next_round(queue)
    with pytest.raises(QueueFullError, match=r"takes about 6\.0 s"):
        queue.add(ticket(1))
    queue.round_over(6.0)
    queue.add(ticket(10))
    queue.add(ticket(9))
    with pytest.raises(QueueFullError, match=r"takes about 1\.9 s"):
        queue.add(ticket(2))


def test_of_what_has_never_been_computed_a_round_may_wait() -> None:
    queue = queue_of(ticket(8), queue_seconds=1e-3, round_documents=10)
    queue.add(ticket(2))
    with pytest.raises(QueueFullError, match="nothing like it has been computed yet"):
        queue.add(ticket(1))


def test_slow_uploads_do_not_say_how_long_ranking_takes() -> None:
    queue = paced(0.01, queue_seconds=2.0)
    upload = Job("index", tuple("a page" for _ in range(10)))
    rank_round(queue, Ticket(upload, LOOP.create_future()), 30.0)
    queue.add(ticket(10))
    queue.add(ticket(500))
    with pytest.raises(QueueFullError):
        queue.add(Ticket(upload, LOOP.create_future()))


def test_small_rounds_say_little_about_large_ones() -> None:
    queue = queue_of(queue_seconds=1.0)
    for _ in range(10):
        rank_round(queue, ticket(200), 0.2)
        rank_round(queue, ticket(1), 0.02)
    queue.add(ticket(1))
    assert fits(queue, ticket(400))


def test_an_uneven_or_a_slower_pace_admits_less() -> None:
    even, uneven, slower = (paced(queue_seconds=6.0) for _ in range(3))
    for at in range(30):
        rank_round(uneven, ticket(10), 0.5 + at % 2)
        rank_round(slower, ticket(10), 2.0)
    for queue in (even, uneven, slower):
        queue.add(ticket(1))
    assert [fits(queue, ticket(50)) for queue in (even, uneven, slower)] == [True, False, False]
    assert fits(uneven, ticket(15))
    assert fits(slower, ticket(20))


def test_a_slow_first_round_is_forgotten() -> None:
    queue = queue_of(queue_seconds=2.0)
    rank_round(queue, ticket(10), 50.0)
    for _ in range(40):
        rank_round(queue, ticket(10), 1.0)
    queue.add(ticket(5))
    assert fits(queue, ticket(10))


def test_rounds_that_failed_teach_nothing() -> None:
    queue = paced(queue_seconds=2.0)
    for _ in range(20):
        queue.add(ticket(10))
        next_round(queue)
        queue.round_over(1e-4, 0.0)
    queue.add(ticket(10))
    assert not fits(queue, ticket(20))


def test_who_waits_long_keeps_no_other_tenant_out() -> None:
    queue = paced(queue_seconds=4.0)
    for _ in range(3):
        queue.add(ticket(10, "a"))
    assert not fits(queue, ticket(15, "a"))
    assert fits(queue, ticket(15, "b")), "as much of a's comes before it, no more"
    assert not fits(queue, ticket(25, "b"))


def test_a_tenant_over_its_quota_is_refused_and_others_are_not() -> None:
    queue = queue_of(ticket(8, "a"), tenant_documents=10, quotas={"b": 20})
    with pytest.raises(QueueFullError, match="8 of your documents are waiting, 10 may"):
        queue.add(ticket(3, "a"))
    queue.add(ticket(20, "b"))
    with pytest.raises(QueueFullError):
        queue.add(ticket(1, "b"))
    queue.add(ticket(10, "c"))


def test_bytes_that_wait_are_bounded_and_the_first_request_always_fits() -> None:
    queue = queue_of(queue_bytes=100)
    first = ticket(20)
    queue.add(first)
    assert queue.nbytes == sum(len(text) for text in first.job.documents) + len("query")
    with pytest.raises(QueueFullError, match="bytes"):
        queue.add(ticket(1))
    queue.remove(first)
    queue.add(ticket(1))


def test_what_is_being_computed_counts_until_its_round_is_over() -> None:
    queue = queue_of(ticket(10, "a"), queue_documents=12, tenant_documents=10)
    next_round(queue)
    assert queue.waiting == 0
    with pytest.raises(QueueFullError, match="10 documents are waiting"):
        queue.add(ticket(3))
    with pytest.raises(QueueFullError, match="10 of your documents"):
        queue.add(ticket(1, "a"))
    queue.add(ticket(2))
    queue.round_over(1.0)
    queue.add(ticket(10, "a"))


def test_who_leaves_frees_his_place_also_half_way() -> None:
    one = ticket(50)
    queue = queue_of(one, round_documents=20)
    next_round(queue)
    assert queue.waiting == 30
    queue.remove(one)
    queue.remove(one)
    assert (queue.waiting, queue.nbytes, next_round(queue)) == (0, 0, [])


def test_documents_that_were_refused_are_not_dealt() -> None:
    bad = Refused(InputError("no"), "b")
    job = Job("rerank", ("one", bad, "three"), ("query",))
    queue = queue_of(Ticket(job, LOOP.create_future()))
    (taken,) = next_round(queue)
    assert taken[1] == 2


@pytest.mark.parametrize("field", ["queue_documents", "round_tokens", "tenant_documents"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5])
def test_a_number_nothing_can_be_served_with_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"{field} = {value!r}: allowed is 1 or more"):
        ServiceOptions(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_seconds_that_admit_nobody_are_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match="queue_seconds = "):
        ServiceOptions(queue_seconds=value)


sizes = st.integers(1, 40)
jobs = st.lists(st.tuples(sizes, st.sampled_from("abc"), st.integers(1, 4)), max_size=12)


@given(jobs=jobs, room=st.integers(1, 50), most=st.integers(1, 50))
@settings(deadline=None, max_examples=80)
def test_every_document_is_dealt_once_in_bounded_rounds(
    jobs: list[tuple[int, str, int]], room: int, most: int
) -> None:
    tickets = [ticket(*job) for job in jobs]
    queue = queue_of(*tickets, queue_documents=10_000, round_documents=room, slice_documents=most)
    dealt = dict.fromkeys(tickets, 0)
    while turn := next_round(queue):
        assert len({one.group for one, _ in turn}) == 1
        cost = sum(one.job.rows * count for one, count in turn)
        assert cost <= room or [count for _, count in turn] == [1]
        for one, count in turn:
            dealt[one] += count
    assert dealt == {one: job[0] for one, job in zip(tickets, jobs, strict=True)}
    assert queue.waiting == queue.nbytes == 0
