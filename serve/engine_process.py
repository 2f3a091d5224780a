"""The engine in a process of its own, whose main thread does nothing but compute.

Beside it in one process, the server's loop takes Python's lock thousands of times a second, and the
engine, which wants it back after every operation, waits. Nothing but what the two have made
themselves goes between them, over a pipe that nobody else has.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields, replace
from functools import cache, partial
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any

from .engine import Engine, Facts, Work, facts_of
from .loading import load, use_threads
from .logs import chain, configure
from .parts import RoundAnswer
from .refusals import ServerError

if TYPE_CHECKING:
    from minireranker.cache import Cache
    from minireranker.engine.tokenizer import TextTokenizer

    from .auth import Tenant
    from .config import ServeConfig
    from .engine_calls import Calls

__all__ = ["in_process"]

_WATCHED = 1.0
"""Seconds between two looks of the process at whether its server still lives."""


def in_process(config: ServeConfig, tenants: Sequence[Tenant]) -> Engine:
    """Load the model in a new process. To be called before this one has threads.

    Raises ConfigurationError, CheckpointError, CacheError and MissingDependencyError for what
    cannot be loaded, ServerError where the process ends by itself.
    """
    # A fork has what is imported already. Where a system's libraries do not stand it, nothing has.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(1, context)
    try:
        facts = pool.submit(_begin, config, tenants, os.getpid()).result()
    except BrokenProcessPool as error:
        raise ServerError(
            "the engine's process ended while it loaded the model: look for what ended it (the "
            "system's log tells of memory that ran out)"
        ) from error
    except BaseException:
        _kill(multiprocessing.active_children())
        raise
    (child,) = multiprocessing.active_children()
    work = Work(*(partial(_call, field.name) for field in fields(Work)))
    cut_text, abandon = _cutter(config.model), partial(_kill, [child])
    return Engine(facts, work, pool, cut_text, abandon, child.sentinel)


def _cutter(model: str) -> Callable[[str, int], str]:
    @cache
    def tokenizer() -> TextTokenizer:
        from minireranker.engine.tokenizer import TextTokenizer
        from minireranker.models import Checkpoint, resolve

        return TextTokenizer(Checkpoint.open(resolve(model)).tokenizer_json())

    return lambda text, tokens: tokenizer().cut_text(text, tokens)


def _kill(children: Sequence[BaseProcess]) -> None:
    for child in children:
        child.kill()


# What follows runs in the engine's process.

_CALLS: list[Calls] = []


def _begin(config: ServeConfig, tenants: Sequence[Tenant], server: int) -> Facts:
    """Load, as ``Reranker.from_pretrained`` does; signals are the server's business."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(server,), daemon=True).start()
    configure(config.log_level)
    use_threads(config.model, config.threads)
    kept = _cache(config, tenants)
    try:
        reranker = load(config, kept)
    except BaseException as error:
        kept.close()
        raise _portable(error) from None
    Finalize(kept, kept.close, exitpriority=1)
    from .engine_calls import Calls

    _CALLS.append(Calls(reranker))
    # A full collection looks at all that was loaded: 0.1 s in which nobody is answered.
    gc.collect()
    gc.freeze()
    return facts_of(reranker)


def _call(name: str, *given: Any) -> Any:
    try:
        answer = getattr(_CALLS[0], name)(*given)
    except Exception as error:
        raise _portable(error) from None
    if isinstance(answer, RoundAnswer):
        parts = [_portable(one) if isinstance(one, Exception) else one for one in answer.parts]
        return replace(answer, parts=parts)
    return answer


def _portable(error: Any) -> Any:
    """An error that survives the way, and knows for the log where it was raised."""
    where = chain(error)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.elsewhere = where
    return error


def _watch(server: int) -> None:
    """Follow a server that was killed: nobody is left to compute for."""
    while os.getppid() == server:
        time.sleep(_WATCHED)
    os._exit(1)


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
