"""Lines to and from a process, each within a time limit."""

from __future__ import annotations

import os
import select
import time

__all__ = ["Channel"]

MOST_BYTES = 64 * 2**20
"""Of one line."""


class Channel:
    """Two pipe ends; they belong to whoever made them."""

    def __init__(self, reading: int, writing: int) -> None:
        """File descriptors."""
        self.reading, self.writing, self._read = reading, writing, bytearray()

    def send(self, line: bytes, deadline: float) -> None:
        """Write a line; ``deadline`` is a reading of ``time.monotonic``.

        Raises TimeoutError, and BrokenPipeError where nobody reads.
        """
        left = memoryview(line + b"\n")
        while left:
            _wait(self.writing, select.POLLOUT, deadline)
            # So much a pipe that is ready takes without blocking.
            left = left[os.write(self.writing, left[: select.PIPE_BUF]) :]

    def receive(self, deadline: float) -> bytes | None:
        """The next line without its end; None where the other side has ended.

        Raises TimeoutError, and OverflowError for a line without an end.
        """
        while (end := self._read.find(b"\n")) < 0:
            if len(self._read) > MOST_BYTES:
                raise OverflowError(f"a line of over {MOST_BYTES} bytes")
            _wait(self.reading, select.POLLIN, deadline)
            found = os.read(self.reading, 65_536)
            if not found:
                return None
            self._read += found
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return line


def _wait(end: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(end, event)
    if not poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
        raise TimeoutError
