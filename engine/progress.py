"""A progress bar on stderr for whatever takes longer than two seconds."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

PATIENCE = 2.0
"""Seconds before the bar appears."""


class Progress:
    """Counts steps; draws itself with rich once two seconds have passed, and cleans up after."""

    def __init__(self, label: str, total: int, enabled: bool | None) -> None:
        """``enabled=None``: only where stderr is a terminal. ``total`` may change later."""
        self.total = total
        self._label, self._done = label, 0
        self._enabled = sys.stderr.isatty() if enabled is None else enabled
        self._lock = threading.Lock()
        self._bar: RichProgress | None = None
        # A thread of its own: the bar must appear while the first step is still at work.
        self._timer = threading.Timer(PATIENCE, self._draw)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        """Start the clock."""
        if self._enabled:
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar, also on an error."""
        self._timer.cancel()
        with self._lock:
            self._enabled = False
            if self._bar is not None:
                self._bar.stop()

    def advance(self, steps: int = 1) -> None:
        """``steps`` more are done."""
        with self._lock:
            self._done += steps
            if self._bar is not None:
                task = self._bar.task_ids[0]
                self._bar.update(task, completed=self._done, total=self.total)

    def relabel(self, text: str) -> None:
        """Say ``text`` before the bar, from now on."""
        with self._lock:
            self._label = text
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], description=text)

    def _draw(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        with self._lock:
            if not self._enabled:
                return
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
            console = Console(stderr=True)
            # Where nothing can be wiped away again, the finished bar stays as one line.
            self._bar = Progress(
                *columns, TimeRemainingColumn(), console=console, transient=console.is_terminal
            )
            self._bar.add_task(self._label, total=self.total, completed=self._done)
            self._bar.start()
