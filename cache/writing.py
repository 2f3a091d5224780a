"""How an entry gets into a cache folder: room first, then the file, then its name."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from .faults import Faults
from .folder import Folder, sync
from .ledger import Ledger, Request, Verdict
from .opening import FAULTS, reason
from .publish import Draft, wait_for
from .uses import Uses

MOST_STUCK = 100
"""Victims whose files cannot be removed, before a writer gives up."""


@dataclass(frozen=True)
class Parcel:
    """An entry's file on its way in."""

    key: str
    data: bytes
    created: float
    """Seconds since the epoch."""
    oldest: float
    """An entry that lies there and was made before this is replaced."""


@dataclass(frozen=True)
class Tasks:
    """What writing leaves to the cache."""

    clear: Callable[[], None]
    """Look through the folder: an index was made anew, or there is no room."""
    evicted: Callable[[int], None]
    """Count evictions."""


class Writing:
    """Publishes files in one folder; see ``disk`` for why it may be killed at any moment."""

    def __init__(
        self, folder: Folder, ledger: Ledger, uses: Uses, faults: Faults, tasks: Tasks
    ) -> None:
        """``uses``: written down with every request for room, so that the right ones go."""
        self._folder, self._ledger, self._uses = folder, ledger, uses
        self._faults, self._tasks = faults, tasks
        self._unreleased: deque[str] = deque()

    def write(self, parcel: Parcel) -> bool:
        """Whether the entry is there now; False: there is no room for it.

        Raises what the machine's faults raise; then nothing is left of it.
        """
        self._release()
        size = len(parcel.data)
        with Draft(self._folder.tmp) as draft:
            wanted = Request(parcel.key, size, parcel.created, draft.name, parcel.oldest)
            try:
                verdict = self._reserve(wanted)
                if verdict is not Verdict.GRANTED:
                    return verdict is Verdict.THERE
                changed = self._publish(draft, wanted, parcel)
            except BaseException:
                self._give_up(draft)
                raise
        for folder in changed:
            with contextlib.suppress(FileNotFoundError):  # and the entry with it: dropped since
                sync(folder)
        return True

    def _reserve(self, wanted: Request) -> Verdict:
        """GRANTED, THERE or REFUSED."""
        gone, stuck, failures = list[str](), dict[str, OSError](), 0
        while True:
            answer = self._ledger.reserve(wanted, self._uses.take(), gone, stuck)
            gone, stuck = self._evict(answer.victims)
            failures += len(stuck)
            if failures > MOST_STUCK:
                raise next(iter(stuck.values()))
            if answer.verdict is Verdict.BUSY:
                wait_for(self._folder.tmp / answer.claimant)
            elif answer.verdict in (Verdict.UNKNOWN, Verdict.REFUSED) and not wanted.swept:
                self._tasks.clear()
                wanted = replace(wanted, swept=True)
            elif answer.verdict is not Verdict.EVICT:
                return answer.verdict

    def _evict(self, victims: Iterable[str]) -> tuple[list[str], dict[str, OSError]]:
        """The keys of victims that are gone, and of those whose files cannot be removed."""
        removed, stuck = self._folder.remove_all(victims)
        self._tasks.evicted(removed)
        for key, error in stuck.items():
            path = self._folder.path_of(key)
            why = "%s cannot be removed (%s): others make room in its place"
            self._faults.report("evict", why, path, reason(error))
        return [key for key in victims if key not in stuck], stuck

    def _publish(self, draft: Draft, wanted: Request, parcel: Parcel) -> list[str]:
        draft.write(parcel.data, wanted.created)
        changed = draft.publish(self._folder.path_of(wanted.key))
        self._ledger.publish(wanted)
        return changed

    def _give_up(self, draft: Draft) -> None:
        """Leave nothing: neither the file, nor a claim to its room or on a victim."""
        with contextlib.suppress(OSError):
            draft.discard()
        self._unreleased.append(draft.name)
        with contextlib.suppress(*FAULTS):
            self._release()

    def _release(self) -> None:
        """Give up claims; on a full disk that has to wait until it no longer is."""
        with contextlib.suppress(IndexError):
            while claimant := self._unreleased.pop():
                try:
                    self._ledger.claims.release(claimant)
                except BaseException:
                    self._unreleased.append(claimant)
                    raise
