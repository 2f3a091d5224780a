"""Checkpoints with random weights in the published Qwen3-VL layout.

For tests (tiny) and for measuring speed at the published sizes without a download: the time of a
product does not depend on its values. Scores of such a model rank nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minireranker.errors import CheckpointError, ConfigurationError

from .checkpoint import CONFIG
from .directory import directory_at
from .qwen3_vl.config import ModelConfig
from .synth_sizes import model_config
from .synth_tokenizer import train_tokenizer, write_tokenizer
from .synth_weights import Progress, total_bytes, write_weights
from .tokenizer_files import FILES, read_tokenizer_json, token_ids, vocabulary_size

_SPARE_BYTES = 64 * 2**20


def synthesize(
    out: Path | str,
    size: str = "tiny",
    *,
    seed: int = 0,
    dtype: str = "bfloat16",
    tokenizer: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    text: Mapping[str, Any] | None = None,
    vision: Mapping[str, Any] | None = None,
    tie_word_embeddings: bool | None = None,
) -> Path:
    """Write a checkpoint of ``size`` ("tiny", "2b", "4b", "8b") to the directory ``out``.

    The same seed gives the same weights. ``tokenizer``: a directory whose tokenizer is taken
    instead of the small built-in one. ``text``, ``vision`` and ``tie_word_embeddings`` replace keys
    of the config. The directory appears whole or not at all. Returns it.

    Raises ConfigurationError for an unknown size or an ``out`` that is in use, CheckpointError for
    a tokenizer or config that cannot be used, and for too little disk, before anything is written.
    """
    out = Path(out).absolute()
    _require_replaceable(out, overwrite)
    tokenizer_json = _tokenizer_json(tokenizer)
    config = model_config(
        size,
        ids=token_ids(tokenizer_json),
        vocabulary=vocabulary_size(tokenizer_json),
        dtype=dtype,
        text=text,
        vision=vision,
        tie_word_embeddings=tie_word_embeddings,
    )
    _require_disk(out, config)
    with directory_at(out) as building:
        _write_json(building / CONFIG, config.to_dict())
        _write_tokenizer(building, tokenizer, tokenizer_json)
        _write_preprocessors(building)
        write_weights(building, config, seed, progress)
        if size == "tiny":
            _write_profile(building, config)
    return out


def _require_replaceable(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise ConfigurationError(f"{out} is a file; name a directory to write")
    if not overwrite:
        raise ConfigurationError(
            f"{out} is not empty; name another directory, or overwrite it (--force)"
        )
    if not (out / CONFIG).is_file():
        raise ConfigurationError(
            f"{out} is not empty and no checkpoint: it will not be overwritten; name another one"
        )


def _require_disk(out: Path, config: ModelConfig) -> None:
    needed = total_bytes(config) + _SPARE_BYTES
    existing = next(parent for parent in out.parents if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise CheckpointError(
            f"{existing} has {free / 1e9:.1f} GB free, the checkpoint needs {needed / 1e9:.1f} GB; "
            "free some disk or name a directory on another one"
        )


def _tokenizer_json(source: Path | str | None) -> str:
    if source is not None:
        return read_tokenizer_json(Path(source))
    return str(train_tokenizer().to_str(pretty=True))


def _write_tokenizer(building: Path, source: Path | str | None, tokenizer_json: str) -> None:
    if source is None:
        write_tokenizer(building, tokenizer_json)
        return
    for path in (Path(source) / name for name in FILES):
        if path.is_file():
            shutil.copyfile(path, building / path.name)


def _write_preprocessors(building: Path) -> None:
    common = {
        "do_convert_rgb": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "merge_size": 2,
        "patch_size": 16,
        "processor_class": "Qwen3VLProcessor",
        "rescale_factor": 1 / 255,
        "temporal_patch_size": 2,
    }
    image = {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "size": {"longest_edge": 1_843_200, "shortest_edge": 4_096},
    }
    video = {
        "fps": 1,
        "max_frames": 64,
        "min_frames": 4,
        "size": {"longest_edge": 7_864_320, "shortest_edge": 4_096},
        "video_processor_type": "Qwen3VLVideoProcessor",
    }
    _write_json(building / "preprocessor_config.json", common | image)
    _write_json(building / "video_preprocessor_config.json", common | video)


def _write_profile(building: Path, config: ModelConfig) -> None:
    """The reductions of the paper in proportion: exit at 57 % of the layers, band from half."""
    layers = config.text.num_hidden_layers
    exit_layer = max(1, round(layers * 16 / 28))
    (building / "profiles").mkdir()
    (building / "profiles" / "mini.toml").write_text(
        f"layers = {layers}\nhidden_size = {config.text.hidden_size}\n"
        f"exit_layer = {exit_layer}\nband = [{exit_layer // 2}, {exit_layer}]\nkeep_ratio = 0.5\n",
        encoding="utf-8",
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
