"""A child process that is spoken with over its pipes, and whose last words are kept."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack

from .channel import Channel

__all__ = ["Child"]

_LAST_BYTES = 2_000
"""Of its stderr that are shown."""
_PATIENCE = 2.0
"""Seconds it has for ending by itself."""
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class Child:
    """Runs from its making until it is stopped; in a process group of its own."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it. Raises OSError."""
        with ExitStack() as held:
            self._errors = held.enter_context(tempfile.TemporaryFile())
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=os.environ | _OFFLINE,
                bufsize=0,
                start_new_session=True,  # so that all it starts can be ended with it
            )
            self._held = held.pop_all()
        assert self._process.stdin is not None, "a pipe was asked for"
        assert self._process.stdout is not None, "a pipe was asked for"
        self.channel = Channel(self._process.stdout.fileno(), self._process.stdin.fileno())

    @property
    def pid(self) -> int:
        """Of the process; also of the process group of all it starts."""
        return self._process.pid

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._errors.closed

    def last_words(self) -> str:
        """The end of its stderr, to be put behind a message."""
        # Not by seeking: the child writes where the file stands.
        size = os.fstat(self._errors.fileno()).st_size
        found = os.pread(self._errors.fileno(), _LAST_BYTES, max(size - _LAST_BYTES, 0))
        text = found.decode(errors="replace").strip()
        return f"; its last words:\n{text}" if text else "; it wrote nothing to stderr"

    def stop(self, patience: float = _PATIENCE) -> int:
        """End it, after so many seconds by force; returns its code."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None, "both were asked for"
            pipe.close()
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait()

    def close(self) -> None:
        """End it, however it is, and forget its words; again is nothing."""
        if not self.closed:
            self.stop()
            self._held.close()
