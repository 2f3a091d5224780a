"""The model of a process: what it is loaded as, and with how many threads it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minireranker.cache import Cache
    from minireranker.engine import Reranker

    from .config import ServeConfig

__all__ = ["load", "use_threads"]

_NARROW = 256
"""Hidden width up to which a second thread wins little and takes the core that the server's own
work needs (the built-in model, 128: it wins a twentieth, on two cores of an AMD EPYC, family 25
model 17)."""


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
    """The model. To be called by the thread that computes with it.

    OpenMP counts the teams of all threads that have computed and still live. With more workers than
    cores they no longer wait for the next product but sleep, and small products take half as long
    again. Raises as ``Reranker.from_pretrained`` does.
    """
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
