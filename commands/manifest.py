"""Manifests: what `index` did, as JSON Lines, and the keys another command reads out of one."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from minireranker.errors import ConfigurationError, InputError

__all__ = ["check_manifest", "read_keys", "write_manifest"]

FORMAT = "minireranker manifest"


def check_manifest(path: Path | None) -> None:
    """A manifest that cannot be written should be known before the indexing, not after.

    Raises ConfigurationError.
    """
    if path is None:
        return
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigurationError(f"--manifest {path}: there is no folder {folder}; make it first")
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigurationError(f"--manifest {path}: cannot be written; name another file")


def write_manifest(path: Path, run: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
    """One line about the run, one a document; appears at once and whole.

    Raises ConfigurationError where it cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("x", encoding="utf-8") as file:
            for row in ({"format": FORMAT, "version": 1, **run}, *rows):
                file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(
            f"--manifest {path}: {error.strerror or error}; what was indexed is kept, run it "
            "again with another file"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def read_keys(path: Path) -> list[str]:
    """The keys of the documents in a manifest, each once. Raises InputError."""
    from minireranker.cache import KEY_PATTERN

    keys: dict[str, None] = {}
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                row = _row(path, number, line)
                key = row.get("key")
                if number == 1 or key is None:
                    continue
                if not isinstance(key, str) or not KEY_PATTERN.fullmatch(key):
                    raise InputError(f"{path}, line {number}: no key of an entry; index again")
                keys[key] = None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a file index --manifest wrote") from error
    if not keys:
        raise InputError(f"{path} names no entry; name a file that index --manifest wrote")
    return list(keys)


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or (number == 1 and row.get("format") != FORMAT):
        raise InputError(
            f"{path}, line {number}: not a line of a manifest; name a file that index --manifest "
            "wrote"
        )
    return row
