"""What all benchmark commands need: a clock on stderr, a checkpoint, and a result file."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from minireranker.errors import ConfigurationError

__all__ = [
    "CheckpointOption",
    "ModelOption",
    "OutOption",
    "PngOption",
    "SizeOption",
    "check_target",
    "clock",
    "given_or_synthetic",
    "write_result",
]

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model", help="Checkpoint directory, or builtin; without it a synthetic one is written."
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option("--model", help="Checkpoint directory; without it a synthetic one is written."),
]
SizeOption = Annotated[
    str, typer.Option("--size", help="Size of the synthetic checkpoint: tiny, 2b, 4b or 8b.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", dir_okay=False, help="Write the result here as JSON.")
]
PngOption = Annotated[Path | None, typer.Option(dir_okay=False, help="Draw the result here.")]


def clock() -> Callable[[str], None]:
    """Says a line on stderr, after the seconds passed."""
    start = time.perf_counter()
    return lambda line: typer.echo(f"{time.perf_counter() - start:6.1f} s  {line}", err=True)


def check_target(out: Path | None, option: str = "--out") -> None:
    """A result that cannot be written should be known before the measuring, not after."""
    if out is None:
        return
    above = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    if not os.path.isdir(above):
        raise ConfigurationError(f"{option} {out}: {above} is no folder; name another file")
    if not os.access(out if os.path.exists(out) else above, os.W_OK):
        raise ConfigurationError(f"{option} {out}: cannot be written to; name another file")


def write_result(out: Path, result: dict[str, Any]) -> None:
    """Write JSON, folders made; say where. Raises ConfigurationError where that is not possible."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--out {out}: {error.strerror}; name another file") from error
    typer.echo(f"written: {out}", err=True)


@contextmanager
def given_or_synthetic(
    model: Path | None,
    size: str,
    say: Callable[[str], None],
    *,
    base: str | None = None,
    **config: Any,
) -> Iterator[Path]:
    """The checkpoint named, else one of random weights that is gone afterwards.

    ``base``: the size that ``synthesize`` knows, where ``config`` makes another of it.
    """
    from minireranker.models.synth import synthesize

    if model is not None:
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="minireranker-bench-") as scratch:
        say(f"writing a checkpoint of size {size} with random weights")
        yield synthesize(Path(scratch) / f"synthetic-{size}", base or size, **config)
