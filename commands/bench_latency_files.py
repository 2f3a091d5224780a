"""The files of ``minireranker bench latency`` beside its JSON: rows, and a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from minireranker.errors import ConfigurationError

__all__ = ["write_csv", "write_html"]


def write_csv(path: Path, result: Mapping[str, Any]) -> None:
    """A row a run and a peer. Raises ConfigurationError where that is not possible."""
    from minireranker.bench.latency.csv_rows import csv_text

    _write(path, "--csv", csv_text(result))


def write_html(path: Path, result: Mapping[str, Any]) -> None:
    """A page that needs nothing else. Raises ConfigurationError where that is not possible."""
    from minireranker.bench.latency.page import page

    _write(path, "--html", page(result))


def _write(path: Path, option: str, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{option} {path}: {error.strerror}; name another file") from error
    typer.echo(f"written: {path}", err=True)
