"""The result file: its version, its schema, and reading one back."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from minireranker.errors import ConfigurationError

__all__ = ["VERSION", "read_result", "schema"]

VERSION = 1
"""Of the file's layout: counted up when a field changes its name or its meaning."""

_NEEDED = ("finished", "machine", "workload", "settings", "targets", "peers")


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a result."""
    text = resources.files(__package__).joinpath("result.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def read_result(path: Path) -> dict[str, Any]:
    """A result that was written before. Raises ConfigurationError for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error}); name a result file") from error
    if not isinstance(found, dict) or any(name not in found for name in ("version", *_NEEDED)):
        raise ConfigurationError(
            f"{path} is no result of bench latency: name what --out has written"
        )
    if found["version"] != VERSION:
        raise ConfigurationError(
            f"{path} has version {found['version']}, this program reads {VERSION}: measure again"
        )
    return found
