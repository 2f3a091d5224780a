"""What failed, on stderr: a line a document, until a reason has been told often enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from .printable import printable
from .quantities import counted

__all__ = ["show_failures"]

_TOLD = 3
"""Documents that are named for one and the same reason; --json names all."""


def show_failures(failures: Iterable[tuple[str, str]]) -> None:
    """``failures``: what is said of each, without its reason, and the reason."""
    console = Console(stderr=True)
    times: Counter[str] = Counter()
    for what, reason in failures:
        times[reason] += 1
        if times[reason] <= _TOLD:
            _print(console, f"{what}: {reason}")
    for reason, count in times.items():
        if count > _TOLD:
            more = counted(count - _TOLD, "document", "documents")
            _print(console, f"failed: {more} more for the same reason: {reason}")


def _print(console: Console, line: str) -> None:
    console.print(Text(printable(line), style="red"), soft_wrap=True)
