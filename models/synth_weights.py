"""Random weights on disk: what the published files look like, shard by shard."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

from .layout import Shapes, expected_shapes, published_name
from .qwen3_vl.config import ModelConfig
from .shard import INDEX, SINGLE
from .synth_values import random_tensor

SHARD_BYTES = 500_000_000
"""A file is closed before it would hold more than this."""

Progress = Callable[[int, int], None]
"""Called with (bytes written, bytes in all)."""


def write_weights(
    directory: Path, config: ModelConfig, seed: int, progress: Progress | None = None
) -> None:
    """Write all tensors of ``config`` with random values, in one file or as shards with an index.

    Memory in use is one shard, or the largest tensor if that is more.
    """
    progress = progress or (lambda done, total: None)
    shapes = expected_shapes(config)
    total, done = total_bytes(config), 0
    weight_map: dict[str, str] = {}
    shards = _split(shapes, config)
    progress(0, total)
    for at, held in enumerate(shards, start=1):
        file = SINGLE if len(shards) == 1 else f"model-{at:05d}-of-{len(shards):05d}.safetensors"
        _write_shard(directory / file, held, config, seed)
        weight_map |= {published_name(name): file for name in held}
        done += _bytes(held, config)
        progress(done, total)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def total_bytes(config: ModelConfig) -> int:
    """Bytes of all tensors of a model as ``config.dtype``."""
    return _bytes(expected_shapes(config), config)


def _write_shard(path: Path, shapes: Shapes, config: ModelConfig, seed: int) -> None:
    from safetensors.torch import save_file

    tensors = {
        published_name(name): random_tensor(name, shape, config, seed)
        for name, shape in shapes.items()
    }
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # the library leaves it to its owner alone


def _split(shapes: Shapes, config: ModelConfig) -> list[Shapes]:
    """The tensors in file order, cut where a file would exceed SHARD_BYTES."""
    shards: list[Shapes] = [{}]
    for name, shape in shapes.items():
        if shards[-1] and _bytes(shards[-1] | {name: shape}, config) > SHARD_BYTES:
            shards.append({})
        shards[-1][name] = shape
    return shards


def _bytes(shapes: Shapes, config: ModelConfig) -> int:
    return sum(map(math.prod, shapes.values())) * (4 if config.dtype == "float32" else 2)
