"""``minireranker bench compare``: two results of ``bench latency`` beside each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .bench_table import open_console, print_line, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from minireranker.bench.latency.compare import Compared

__all__ = ["compare"]

_COLUMNS = ("median", "first", "second", "second / first", "95 % interval", "")
_File = typer.Argument(dir_okay=False, help="JSON that bench latency wrote.")


def compare(
    base: Annotated[Path, _File],
    other: Annotated[Path, _File],
    fail_above: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Exit with 1 where ours is slower in the second by more than this many per cent, "
            "over the whole of the interval. Peers only show what the machine did.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.", min=0)] = 0,
) -> None:
    """Ratios of medians, second over first, each with its 95 % bootstrap interval."""
    from minireranker.bench.latency.compare import compare as compared
    from minireranker.bench.latency.compare import differences
    from minireranker.bench.latency.result import read_result
    from minireranker.errors import ConfigurationError

    one, two = read_result(base), read_result(other)
    found = compared(one, two, seed)
    if not found:
        raise ConfigurationError(f"{base} and {other} have no figure in common; nothing to compare")
    console = open_console()
    _show(console, found, fail_above)
    for line in differences(one, two):
        print_line(console, line)
    if fail_above is not None and any(_fails(each, fail_above) for each in found):
        raise typer.Exit(1)


def _fails(each: Compared, percent: float) -> bool:
    return each.is_ours and each.is_slower(percent)


def _show(console: Console, found: list[Compared], fail_above: float | None) -> None:
    from minireranker.bench.latency.wording import seconds

    rows = []
    for each in found:
        interval = each.interval
        said = "slower" if each.is_slower(0.0) else "faster" if interval.high < 1 else ""
        if fail_above is not None and _fails(each, fail_above):
            said = f"slower by more than {fail_above:g} %"
        between = f"{interval.low:.3f} to {interval.high:.3f}"
        if math.isinf(interval.high):
            between = "too few samples"
        times = seconds(each.base), seconds(each.other)
        rows.append([each.name, *times, f"{interval.ratio:.3f}", between, said])
    print_table(console, _COLUMNS, rows)
