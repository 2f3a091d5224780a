"""Ids that came to stand for other files: more often a mishap than meant, so it is said."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from .sources import DocumentSource

_LOG = logging.getLogger(__name__)


class Displaced:
    """Those of one build."""

    def __init__(self) -> None:
        """None so far."""
        self._count, self._first = 0, ""

    def note(self, name: str, before: DocumentSource | None, now: DocumentSource) -> None:
        """What an index kept of ``name``, and keeps from now on.

        A file that is not there any more was moved, or deleted: that is no mishap.
        """
        old, new = None if before is None else before.file, now.file
        if old is None or new is None or old == new or not os.path.exists(old):
            return
        self._count += 1
        self._first = self._first or f"{name!r} for {new}, no longer for {old}"

    def warn(self, folder: Path) -> None:
        """Once, if there were any."""
        if self._count:
            _LOG.warning(
                "%d id(s) in %s stand for other files than before, the first %s, which is not "
                "found any more: give each document an id of its own (of two folders, index the "
                "one above them), or each folder an index of its own",
                self._count,
                folder,
                self._first,
            )
