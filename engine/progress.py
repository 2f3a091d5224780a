"""A progress bar on stderr for whatever takes longer than two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_Item = TypeVar("_Item")

PATIENCE = 2.0
"""Seconds before the bar appears."""


class Progress:
    """Counts steps; draws itself with rich once two seconds have passed, and cleans up after."""

    def __init__(self, label: str, total: int, enabled: bool | None) -> None:
        """``enabled=None``: only where stderr is a terminal."""
        self._label, self._total = label, total
        self._enabled = sys.stderr.isatty() if enabled is None else enabled
        self._start = time.monotonic()
        self._done = 0
        self._bar: RichProgress | None = None

    def __enter__(self) -> Self:
        """Start the clock."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar, also on an error."""
        if self._bar is not None:
            self._bar.stop()

    def advance(self, steps: int = 1) -> None:
        """``steps`` more are done."""
        self._done += steps
        if not self._enabled:
            return
        if self._bar is None and time.monotonic() - self._start >= PATIENCE:
            self._bar = self._draw()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)

    def over(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The items, counted as they are done with."""
        for item in items:
            yield item
            self.advance()

    def _draw(self) -> RichProgress:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True)
        # Where nothing can be wiped away again, the finished bar stays as one line.
        bar = Progress(
            *columns, TimeRemainingColumn(), console=console, transient=console.is_terminal
        )
        bar.start()
        bar.add_task(self._label, total=self._total)
        return bar
