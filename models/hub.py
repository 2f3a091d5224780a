"""From a model's name to its directory: built in, a path as it is, or a hub id downloaded."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, TypeAlias

from minireranker.errors import CheckpointError

BUILTIN = "builtin"
"""The name of the models inside the package (their card: models/builtin/README.md)."""

Kind: TypeAlias = Literal["reranker", "embedder"]

_BUILTIN = Path(__file__).with_name(BUILTIN)
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.jinja", "profiles/*.toml"]


def resolve(name_or_path: str | os.PathLike[str], kind: Kind = "reranker") -> Path:
    """A directory: ``"builtin"``, one that exists, or a snapshot of a hub id ``org/name``.

    ``kind``: which of the two built-in models; a folder of that name is ``"./builtin"``. A hub id
    is downloaded if needed. Raises CheckpointError, with the reason, for what is none of these.
    """
    if name_or_path == BUILTIN:
        return _BUILTIN / kind
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    name = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        return _download(name)
    found = "a file" if path.exists() else "no directory"
    raise CheckpointError(
        f"{name!r} is {found}, and no hub id (org/name) either; pass a checkpoint directory, or an "
        "id such as Qwen/Qwen3-VL-Reranker-2B, or 'builtin'"
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
