"""What the service tells those who count: how much waits, and what came of every round."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from minireranker import Document, Reranker
from minireranker.errors import EmptyQueryError
from minireranker.serve.auth import read_tenants, service_options
from minireranker.serve.config import ServeConfig
from minireranker.serve.jobs import Job
from minireranker.serve.metrics import Metrics
from minireranker.serve.refusals import DeadlineError


@pytest.mark.parametrize("is_late", [True, False])
def test_the_depth_of_the_queue_is_told_when_a_caller_goes_not_with_the_next_round(
    run: Any, builtin: Reranker, serving: Any, rerank: Any, texts: list[str], is_late: bool
) -> None:
    metrics = Metrics()

    def told() -> Any:
        return metrics.registry.get_sample_value("minireranker_queue_documents")

    async def ask() -> Any:
        async with serving(builtin, metrics) as service:
            held, release = threading.Event(), threading.Event()
            service._engine.worker.submit(lambda: held.set() or release.wait(300))
            held.wait(300)
            first = asyncio.create_task(service.rerank(rerank(texts)))
            await asyncio.sleep(0.05)  # its round is dealt, and waits for the thread
            deadline = time.monotonic() + 0.05 if is_late else None
            second = asyncio.create_task(service.rerank(rerank(texts[:7], deadline=deadline)))
            await asyncio.sleep(0)
            found = [told()]
            if not is_late:
                second.cancel()
            (error,) = await asyncio.gather(second, return_exceptions=True)
            found.append(told())
            release.set()
            return found, type(error), len((await first).results)

    error = DeadlineError if is_late else asyncio.CancelledError
    assert run(ask()) == ([7, 0], error, len(texts))


def test_a_round_counts_every_pair_without_a_score(
    run: Any, builtin: Reranker, serving: Any, recorder: Any, rerank: Any, texts: list[str]
) -> None:
    torn = Document(image=b"junk")

    async def ask() -> Any:
        async with serving(builtin, recorder) as service:
            good = service.rerank(rerank([*texts[:4], torn]))
            bad = service.rerank(rerank(texts[:5], ""))
            many = service.score(Job("score", (torn, *texts[:2]), ("a", "b", "c")))
            both = asyncio.gather(good, bad, many, return_exceptions=True)
            await both
            await service.index(Job("index", (torn, texts[0])))
            return both.result()

    _, bad, many = run(ask())
    assert isinstance(bad, EmptyQueryError)
    assert len(many.failed) == 1
    ranked, indexed = recorder.rounds
    assert (ranked.kind, ranked.jobs, ranked.documents) == ("rank", 3, 5 + 5 + 9)
    assert ranked.failed == 1 + 5 + 3
    assert (indexed.kind, indexed.documents, indexed.failed) == ("index", 2, 1)


@pytest.mark.parametrize("is_shown", [True, False])
def test_the_tenants_file_says_who_is_told_of_the_cache_else_the_setting_does(
    tmp_path: Path, is_shown: bool
) -> None:
    file = tmp_path / "tenants.toml"
    tables = ("[other]", "[shown]\nshow_cache = true", "[hidden]\nshow_cache = false")
    lines = [f'{table}\ntoken = "{"x" * (16 + place)}"' for place, table in enumerate(tables)]
    file.write_text("\n".join(lines))
    config = ServeConfig(tenants=file, show_cache=is_shown)
    options = service_options(config, read_tenants(config))
    told = {name: options.shows_cache(name) for name in ("", "other", "shown", "hidden")}
    assert told == {"": is_shown, "other": is_shown, "shown": True, "hidden": False}
