"""The engine in a process of its own, whose main thread does nothing but compute.

Beside it in one process, the server's loop takes Python's lock thousands of times a second, and the
engine, which wants it back after every operation, waits. Nothing but what the two have made
themselves goes between them, over a pipe that nobody else has.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .engine import Engine, Facts, Work, facts_of
from .loading import load, use_threads
from .logs import chain, configure
from .parts import PartAnswer, RoundAnswer
from .refusals import ServerError

if TYPE_CHECKING:
    from minireranker.cache import Cache
    from minireranker.engine.tokenizer import TextTokenizer

    from .auth import Tenant
    from .config import ServeConfig
    from .engine_calls import Calls

__all__ = ["in_process"]

_LOG = logging.getLogger(__name__)

_ENDED = (
    "the engine's process ended while it loaded the model: look for what ended it (the system's "
    "log tells of memory that ran out)"
)
_WATCHED = 1.0
"""Seconds between two looks of the process at whether its server still lives."""
_WRITING = 5.0
"""Seconds for an engine that is broken off to write what clients were told is kept."""


def in_process(config: ServeConfig, tenants: Sequence[Tenant]) -> Engine:
    """Load the model in a new process. To be called before this one has threads.

    Raises ConfigurationError, CheckpointError, CacheError and MissingDependencyError for what
    cannot be loaded, ServerError where the process ends by itself.
    """
    others = set(multiprocessing.active_children())
    # A fork has what is imported already. Where a system's libraries do not stand it, nothing has.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(1, context, initializer=_guard, initargs=(os.getpid(),))
    try:
        facts = pool.submit(_begin, config, tenants).result()
    except BrokenProcessPool as error:
        raise ServerError(_ENDED) from error
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.kill()
        raise
    children = set(multiprocessing.active_children()) - others
    if not children:
        raise ServerError(_ENDED)
    child = children.pop()
    work = Work(*(partial(_call, field.name) for field in fields(Work)))
    tokenizer, end = partial(_tokenizer, facts.checkpoint), partial(_end, pool, child)
    return Engine(facts, work, pool, tokenizer, end, child.sentinel)


def _tokenizer(checkpoint: Path) -> TextTokenizer:
    from minireranker.engine.tokenizer import TextTokenizer
    from minireranker.models import Checkpoint

    return TextTokenizer(Checkpoint.open(checkpoint).tokenizer_json())


def _end(pool: ProcessPoolExecutor, child: BaseProcess, is_awaited: bool) -> bool:
    # Not by the pool: its own wait may never end once the process has been killed.
    pool.shutdown(wait=False, cancel_futures=True)
    if not is_awaited and child.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGUSR1)
        if not wait([child.sentinel], _WRITING):
            child.kill()
    wait([child.sentinel])
    # Whoever of the pool and us asks first is told.
    for _ in range(100):
        if child.exitcode is not None:
            break
        time.sleep(0.01)
    return child.exitcode == 0


# What follows runs in the engine's process.

_CALLS: list[Calls] = []
_KEPT: list[Cache] = []
_LEAVE = threading.Event()


def _guard(server: int) -> None:
    """Signals are the server's business, but for the one by which it breaks this process off."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: _LEAVE.set())
    threading.Thread(target=_watch, args=(server,), daemon=True).start()


def _watch(server: int) -> None:
    """Follow a server that was killed: nobody is left to compute for."""
    while os.getppid() == server and not _LEAVE.wait(_WATCHED):
        pass
    if _LEAVE.is_set():
        _close()
    os._exit(1)


def _begin(config: ServeConfig, tenants: Sequence[Tenant]) -> Facts:
    """Load, as ``Reranker.from_pretrained`` does."""
    configure(config.log_level)
    use_threads(config.model, config.threads)
    kept = _cache(config, tenants)
    try:
        reranker = load(config, kept)
    except BaseException as error:
        kept.close()
        raise _portable(error) from None
    from .engine_calls import Calls

    _CALLS.append(Calls(reranker))
    _KEPT.append(kept)
    Finalize(kept, _close, exitpriority=1)
    # A full collection looks at all that was loaded: 0.1 s in which nobody is answered.
    gc.collect()
    gc.freeze()
    return facts_of(reranker)


def _close() -> None:
    """Write what is kept."""
    try:
        for kept in _KEPT:
            kept.close()
    except Exception:
        _LOG.exception("the cache could not be closed")
        os._exit(1)


def _call(name: str, *given: Any) -> Any:
    try:
        answer = getattr(_CALLS[0], name)(*given)
    except Exception as error:
        raise _portable(error) from None
    if isinstance(answer, RoundAnswer):
        return replace(answer, parts=[_packed(part) for part in answer.parts])
    return answer


def _packed(part: PartAnswer | Exception) -> Any:
    if isinstance(part, Exception):
        return _portable(part)
    failed = [(index, query, _portable(error)) for index, query, error in part.failed]
    return replace(part, failed=tuple(failed))


def _portable(error: Any) -> Any:
    """An error that survives the way, and knows for the log where it was raised."""
    where = chain(error)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.elsewhere = where
    return error


def _cache(config: ServeConfig, tenants: Sequence[Tenant]) -> Cache:
    from minireranker.cache import Cache

    quotas = {one.name: one.disk_bytes for one in tenants if one.disk_bytes is not None}
    return Cache(
        config.cache,
        memory_bytes=config.memory_bytes,
        disk_bytes=config.disk_bytes,
        codec=config.codec,
        quotas=quotas or None,
    )
