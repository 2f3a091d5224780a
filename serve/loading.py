"""The model of a process: with how many threads it computes, and who loads it."""

from __future__ import annotations

from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minireranker.cache import Cache
    from minireranker.engine import Reranker

    from .config import ServeConfig

__all__ = ["load", "use_threads"]

_NARROW = 256
"""Hidden width up to which products are too small for a second thread. The built-in model
(128) does 1 000 documents a second with one, 900 with two, and the server's own work needs a core
too."""


def use_threads(model: str, threads: int | None) -> int:
    """Let torch compute with so many threads of the CPU; returns how many it is.

    None: as many as it would, one for a narrow model. Raises CheckpointError for what is no model,
    ConfigurationError for a hub id that cannot be had.
    """
    import torch

    from minireranker.models import Checkpoint, resolve

    config = Checkpoint.open(resolve(model)).config
    if threads is not None:
        torch.set_num_threads(threads)
    elif config.text.hidden_size <= _NARROW:
        torch.set_num_threads(1)
    return torch.get_num_threads()


def load(config: ServeConfig, cache: Cache) -> Reranker:
    """The model, loaded by a thread that has ended.

    OpenMP counts the teams of all threads that have computed and still live. With more workers than
    cores they no longer wait for the next product but sleep, and small products take half as long
    again. So the thread that scores is to be the only one with a team. Raises as
    ``Reranker.from_pretrained`` does.
    """
    loaded: Future[Reranker] = Future()

    def work() -> None:
        try:
            loaded.set_result(_load(config, cache))
        except BaseException as error:
            loaded.set_exception(error)

    thread = Thread(target=work, name="minireranker-load", daemon=True)
    thread.start()
    reranker = loaded.result()
    thread.join()
    return reranker


def _load(config: ServeConfig, cache: Cache) -> Reranker:
    from minireranker.engine import Reranker

    return Reranker.from_pretrained(
        config.model,
        profile=config.profile,
        embedder=config.embedder,
        keep_ratio=config.keep_ratio,
        device=config.device,
        dtype=config.dtype,
        cache=cache,
        batch_tokens=config.batch_tokens,
        backend=config.backend,
        progress=False,
    )
