"""A ColModernVBERT checkpoint: checked, loaded through transformers' own classes, and named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from minireranker.errors import CheckpointError
from minireranker.models.shard import read_shards

KIND = "colmodernvbert"
"""``model_type`` in config.json."""

_SETTINGS = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "processor_config.json",
    "preprocessor_config.json",
)


def read_model_type(path: Path) -> str:
    """``model_type`` of a checkpoint directory. Raises CheckpointError where there is none."""
    file = path / "config.json"
    try:
        kind = json.loads(file.read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} has no config.json that names a model_type: no checkpoint; pass a directory "
            "as it is on the hub"
        ) from error
    return str(kind)


def load_files(path: Path, number: torch.dtype, device: torch.device) -> tuple[Any, Any]:
    """Model, in eval mode, and processor. Raises CheckpointError for what they cannot be read from.

    Pictures go through the Pillow processor whether torchvision is there or not: the two differ in
    their filter, and vectors must not depend on what else is installed.
    """
    read_shards(path)
    from transformers import ColModernVBertForRetrieval, ColModernVBertProcessor

    try:
        with without_bars():
            model, found = ColModernVBertForRetrieval.from_pretrained(
                path,
                dtype=number,
                output_loading_info=True,
                local_files_only=True,
                use_safetensors=True,
            )
            processor = ColModernVBertProcessor.from_pretrained(
                path, local_files_only=True, backend="pil"
            )
    except Exception as error:  # transformers lets errors of every kind through
        raise CheckpointError(
            f"{path} cannot be read as a ColModernVBERT checkpoint "
            f"({type(error).__name__}: {error}); download it again"
        ) from error
    if absent := sorted(found["missing_keys"]):
        raise CheckpointError(
            f"{path}: {len(absent)} tensors are missing, {', '.join(absent[:3])} among them; "
            "download it again (adapters have to be merged into the weights)"
        )
    return model.to(device).eval(), processor


def digest_files(path: Path) -> str:
    """SHA-256 of all settings and of the weights, those sampled (see ``Shard.update_digest``)."""
    digest = hashlib.sha256()
    for file in (path / name for name in _SETTINGS):
        content = file.read_bytes() if file.is_file() else b""
        digest.update(f"{file.name}\0{len(content)}\0".encode() + content)
    for shard in read_shards(path):
        shard.update_digest(digest)
    return digest.hexdigest()


def stored_dtype(path: Path) -> str:
    """What config.json says the weights are, "float32" where it does not."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


@contextmanager
def without_bars() -> Iterator[None]:
    """Transformers draws a bar over the names of its tensors, wherever stderr leads."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
