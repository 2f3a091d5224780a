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

__all__ = ["Engine", "Facts", "Work", "facts_of", "in_thread"]


@dataclass(frozen=True)
class Facts:
    """Of a loaded model, for those who cannot ask it."""

    model: str
    """The checkpoint's name, without its folder."""
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
    cut_text: Callable[[str, int], str]
    """The beginning of a text that has so many tokens, without the worker."""
    abandon: Callable[[], None]
    """End a worker that is not waited for, as far as that can be done."""
    sentinel: int | None = None
    """Of a process: a file descriptor that is readable once it has ended."""


def in_thread(reranker: Reranker) -> Engine:
    """A model of this process, in a thread of its own. It is not closed with the worker."""
    from .engine_calls import Calls

    calls = Calls(reranker)
    return Engine(
        facts_of(reranker),
        Work(calls.run, calls.evict, calls.overlong, calls.warm_up, calls.stats),
        ThreadPoolExecutor(1, thread_name_prefix="minireranker-engine"),
        reranker.state.prompt.tokenizer.cut_text,
        lambda: None,
    )


def facts_of(reranker: Reranker) -> Facts:
    """Of a loaded model."""
    model = reranker.state.model
    return Facts(
        model=Path(reranker.checkpoint).name,
        profile=reranker.profile.name,
        limits=reranker.profile.limits,
        device=str(model.device),
        dtype=str(model.precision),
        rooms=Lengths(reranker).rooms,
        description=reranker.describe(),
    )
