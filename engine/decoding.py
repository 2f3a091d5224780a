"""Which contents may be decoded in another thread than the caller's, and which one at a time."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext

from .content import Content
from .stamps import sources_of


class Decoding:
    """The rule of one call that decodes ahead in threads."""

    def __init__(self) -> None:
        """A lock of its own."""
        self._one_at_a_time = threading.Lock()

    def guard(self, content: Content) -> AbstractContextManager[object] | None:
        """What to hold while decoding in another thread; None: leave it to the caller's.

        Functions run in the caller's thread: nothing is known of them. Pillow decodes an image
        into itself, and two documents may be one image.
        """
        sources = list(sources_of(content))
        if any(map(callable, sources)):
            return None
        lazy = any(hasattr(source, "convert") for source in sources)
        return self._one_at_a_time if lazy else nullcontext()
