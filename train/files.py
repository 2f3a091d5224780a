"""Files that are there whole or not at all, whenever the process dies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file in place of the one that was there."""
    replace_with(path, lambda part: _write(part, data))


def replace_with(path: Path, write: Callable[[Path], None]) -> None:
    """Have ``write`` make a file, on the disk before it takes the name ``path``."""
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
