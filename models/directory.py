"""Directories that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minireranker.errors import ConfigurationError


@contextmanager
def directory_at(out: Path) -> Iterator[Path]:
    """A directory beside ``out`` that takes its place if all goes well, and else is removed.

    Raises ConfigurationError where nothing can be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent)
    except OSError as error:
        raise ConfigurationError(
            f"{out} cannot be written ({error.strerror}); name another directory"
        ) from error
    with scratch as parent:
        building, replaced = Path(parent) / "new", Path(parent) / "old"
        building.mkdir()
        yield building
        if out.exists():
            os.replace(out, replaced)
        os.replace(building, out)
