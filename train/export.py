"""The merged checkpoint: the source's files, published layout, with what was trained in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from minireranker.configs import Profile
from minireranker.engine.progress import Progress
from minireranker.errors import ConfigurationError
from minireranker.models.checkpoint import CONFIG, Checkpoint
from minireranker.models.directory import directory_at
from minireranker.models.layout import EMBEDDING, HEAD
from minireranker.models.shard import INDEX

from .profile_file import file_name, profile_toml
from .rewriting import rewrite
from .trained import Change

RECORD = "training.json"
"""In the checkpoint: how it was made."""

_COPIED = (".json", ".jinja", ".txt", ".model")
"""Of the source's other files: config, tokenizer, processors. Its model card is not copied."""


def write_merged(
    source: Path,
    out: Path,
    changes: Mapping[str, Change],
    profile: Profile | None,
    *,
    dtype: str | None = None,
    record: Mapping[str, Any] | None = None,
    beside: Callable[[Path], None] = lambda building: None,
    progress: bool | None = None,
) -> Path:
    """Write ``source`` with ``changes`` (by canonical name) and a profile to the directory ``out``.

    Memory in use is one tensor. ``dtype`` None: that of the source. ``beside`` is told where the
    directory is built, and puts files of its own there. The directory appears whole, in
    place of one that was written before. Raises CheckpointError for a damaged source, OSError for
    a full disk, ConfigurationError for an ``out`` that holds something else or cannot be made.
    """
    checkpoint = Checkpoint.open(source)
    _require_replaceable(out)
    with directory_at(out) as building, _bar(checkpoint, progress) as bar:
        _copy_files(source, building)
        wanted = _with_tied_head(checkpoint, changes)
        sizes = [
            rewrite(shard, building / shard.path.name, wanted, dtype, bar.advance)
            for shard in checkpoint.weights.shards
        ]
        if dtype is not None:
            _rewrite_json(building / CONFIG, lambda found: _with_dtype(found, dtype))
        if (building / INDEX).is_file():
            _rewrite_json(building / INDEX, lambda found: _with_size(found, sum(sizes)))
        if profile is not None:
            _write_profile(building, profile)
        beside(building)
        (building / RECORD).write_text(json.dumps(record or {}, indent=2) + "\n", encoding="utf-8")
    return out


def is_written(out: Path, record: Mapping[str, Any]) -> bool:
    """Whether a checkpoint with that record is there; it appeared whole."""
    try:
        found = json.loads((out / RECORD).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(found == json.loads(json.dumps(record)))


def _bar(checkpoint: Checkpoint, progress: bool | None) -> Progress:
    return Progress("writing the checkpoint", checkpoint.weights.nbytes, progress)


def _require_replaceable(out: Path) -> None:
    if out.exists() and not (out / RECORD).is_file():
        raise ConfigurationError(
            f"{out} is there and was not written by training; move it, or name another folder"
        )


def _copy_files(source: Path, building: Path) -> None:
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in _COPIED:
            shutil.copyfile(path, building / path.name)
    if (source / "profiles").is_dir():
        shutil.copytree(source / "profiles", building / "profiles")


def _with_tied_head(checkpoint: Checkpoint, changes: Mapping[str, Change]) -> dict[str, Change]:
    """A head that is stored beside the table it is tied to is that table afterwards, too."""
    out = dict(changes)
    tied = checkpoint.config.tie_word_embeddings and HEAD in checkpoint.weights.tensors
    if tied and EMBEDDING in out and HEAD not in out:
        out[HEAD] = out[EMBEDDING]
    return out


def _write_profile(building: Path, profile: Profile) -> None:
    (building / "profiles").mkdir(exist_ok=True)
    path = building / "profiles" / file_name(profile)
    path.write_text(profile_toml(profile), encoding="utf-8")


def _rewrite_json(path: Path, change: Any) -> None:
    found = change(json.loads(path.read_text(encoding="utf-8")))
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_dtype(found: dict[str, Any], dtype: str) -> dict[str, Any]:
    """A config says its dtype at the top and in each section."""
    changed: dict[str, Any] = {}
    for key, value in found.items():
        if key in ("dtype", "torch_dtype") and value is not None:
            value = dtype
        changed[key] = _with_dtype(value, dtype) if isinstance(value, dict) else value
    return changed


def _with_size(found: dict[str, Any], size: int) -> dict[str, Any]:
    return found | {"metadata": {**found.get("metadata", {}), "total_size": size}}
