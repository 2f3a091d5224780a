"""From what a caller names a model by to a directory: a path as it is, or a hub id downloaded."""

from __future__ import annotations

import os
import re
from pathlib import Path

from minireranker.errors import CheckpointError

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.jinja", "profiles/*.toml"]


def resolve(name_or_path: str | os.PathLike[str]) -> Path:
    """An existing directory, or the local snapshot of a hub id ``org/name`` (downloaded if needed).

    Raises CheckpointError, with the reason, for what is neither.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    name = os.fspath(name_or_path)
    if name == "builtin":
        raise CheckpointError(
            "this version ships no built-in model; make one with "
            "`minireranker checkpoint synth --size tiny --out DIR` and pass DIR"
        )
    if isinstance(name_or_path, str) and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        return _download(name)
    found = "a file" if path.exists() else "no directory"
    raise CheckpointError(
        f"{name!r} is {found}, and no hub id (org/name) either; pass a checkpoint directory, or an "
        "id such as Qwen/Qwen3-VL-Reranker-2B"
    )


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=_WANTED))
    except Exception as error:  # the hub client lets errors of its HTTP library through
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"{hub_id!r} is neither a directory nor a hub id that can be downloaded ({reason}); "
            "check the spelling and the connection, or download it elsewhere and pass the directory"
        ) from error
