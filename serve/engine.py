"""The engine as the service sees it: a worker that computes one thing at a time, and facts.

``in_process`` (``engine_process``) is how a server runs: its loop and the model then never wait for
the same lock of Python's. ``in_thread`` is for a model that this process has loaded already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .lengths import Lengths, Rooms
from .parts import Part, RoundAnswer

if TYPE_CHECKING:
    from minireranker.cache import CacheStats
    from minireranker.configs import Limits
    from minireranker.engine import Reranker
    from minireranker.engine.tokenizer import TextTokenizer

__all__ = ["Engine", "Facts", "Work", "facts_of", "in_thread"]


@dataclass(frozen=True)
class Facts:
    """Of a loaded model, for those who cannot ask it."""

    checkpoint: Path
    """Its folder; nobody's business but the server's own."""
    profile: str
    limits: Limits
    device: str
    dtype: str
    rooms: Rooms
    """For texts that are to be read whole."""
    description: str
    """In one line, for the log."""


@dataclass(frozen=True)
class Work:
    """What can be asked of an engine: methods of ``engine_calls.Calls``, for its worker to run."""

    run: Callable[[str, str, str | None, Sequence[Part]], RoundAnswer]
    evict: Callable[[str, list[str]], int]
    overlong: Callable[[str, Sequence[str]], str | None]
    warm_up: Callable[[], float]
    stats: Callable[[], CacheStats]


@dataclass(frozen=True, eq=False)
class Engine:
    """One model, and the only worker that computes with it."""

    facts: Facts
    work: Work
    worker: Executor
    """Of one thread or process. Broken (BrokenExecutor) once a process has died."""
    tokenizer: Callable[[], TextTokenizer]
    """The model's, for who cuts texts without the worker; it may have to be read."""
    end: Callable[[bool], bool]
    """End the worker; True: once what runs is done. Whether it ended as it should; it may block."""
    sentinel: int | None = None
    """Of a process: a file descriptor that is readable once it has ended."""


def in_thread(reranker: Reranker) -> Engine:
    """A model of this process, in a thread of its own. It is not closed with the worker."""
    from .engine_calls import Calls

    calls, worker = Calls(reranker), ThreadPoolExecutor(1, thread_name_prefix="minireranker-engine")

    def end(is_awaited: bool) -> bool:
        worker.shutdown(wait=is_awaited, cancel_futures=True)
        return True

    return Engine(
        facts_of(reranker),
        Work(calls.run, calls.evict, calls.overlong, calls.warm_up, calls.stats),
        worker,
        lambda: reranker.state.prompt.tokenizer,
        end,
    )


def facts_of(reranker: Reranker) -> Facts:
    """Of a loaded model."""
    model = reranker.state.model
    return Facts(
        checkpoint=Path(reranker.checkpoint),
        profile=reranker.profile.name,
        limits=reranker.profile.limits,
        device=str(model.device),
        dtype=str(model.precision),
        rooms=Lengths(reranker).rooms,
        description=reranker.describe(),
    )
