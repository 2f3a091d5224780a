"""Entries go: deleted by key, dropped with their namespace, pruned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from .census import batches
from .database import Database
from .faults import Faults
from .folder import Folder, files
from .ledger import Ledger
from .opening import FAULTS, reason
from .publish import Draft, wait_for

AT_ONCE = 100
"""Entries claimed in one transaction."""
ATTEMPTS = 3
"""How often a namespace is claimed that others go on writing in."""


class Upkeep:
    """Removes entries of one folder: claims them, unlinks their files, forgets them.

    Every method may raise what FAULTS lists.
    """

    def __init__(self, database: Database, folder: Folder, ledger: Ledger, faults: Faults) -> None:
        """``ledger``: of ``folder``, in ``database``. ``faults``: told why a row has to stay."""
        self._database, self._folder, self._ledger = database, folder, ledger
        self._claims, self._faults = ledger.claims, faults

    def delete(self, keys: Iterable[str]) -> int:
        """Remove entries, those too that are being written now; how many there were."""
        return sum(self._delete(some) for some in batches(keys, AT_ONCE))

    def discard(self, key: str, inode: int) -> None:
        """Remove an entry, if its file is still that one."""
        with Draft(self._folder.tmp) as draft:
            mine, _ = self._claims.claim([key], draft.name)
            if mine:
                self._folder.remove(key, inode)
                self._claims.release(draft.name)

    def drop(self, name: str) -> int:
        """Remove a namespace: unseen at once, then file by file; how many entries it had."""
        with Draft(self._folder.tmp) as draft:
            aside = self._set_aside(name, draft.name)
            removed = sum(1 for _ in files(aside)) if aside else 0
            try:
                self._ledger.tenants.forget(name)
            finally:
                if aside:
                    self._folder.remove_aside(aside)
            self._claims.release(draft.name)
        return removed

    def prune(self, limit: float, oldest: float) -> int:
        """Remove what was made before ``oldest``, then what was used least recently.

        Until ``limit`` bytes are left; nothing that is pinned. Returns how many went.
        """
        rows = self._database.query(
            "SELECT key, used, bytes, created FROM entries "
            "WHERE pinned = 0 AND writing IS NULL ORDER BY used"
        )
        chosen = {key: used for key, used, _, created in rows if created < oldest}
        left = self._ledger.taken - sum(size for key, _, size, _ in rows if key in chosen)
        for key, used, size, _ in rows:
            if left <= limit:
                break
            if key not in chosen:
                chosen[key] = used
                left -= size
        return sum(self._prune(some, chosen) for some in batches(chosen, AT_ONCE))

    def shrink(self) -> int:
        """Evict until the budget holds; how many went."""
        limit = self._ledger.limit
        return self.prune(limit, -math.inf) if self._ledger.taken > limit else 0

    def _prune(self, keys: list[str], unused: Mapping[str, int]) -> int:
        try:
            return self._remove(keys, unused)[0]
        except FAULTS as error:  # a full disk, on which nothing can be claimed, needs it most
            self._report(error)
            count, stuck = self._folder.remove_all(keys)
            self._report(*stuck.values())
            return count

    def _delete(self, keys: list[str]) -> int:
        removed = 0
        while keys:
            try:
                count, others = self._remove(keys)
            except FAULTS as error:  # an index that cannot be written keeps nobody from deleting
                self._report(error)
                count, stuck = self._folder.remove_all(keys)
                self._report(*stuck.values())
                return removed + count
            removed += count
            for _, claimant in others:
                wait_for(self._folder.tmp / claimant)
            keys = [key for key, _ in others]
        return removed

    def _remove(
        self, keys: list[str], unused: Mapping[str, int] | None = None
    ) -> tuple[int, list[tuple[str, str]]]:
        """How many went, and (key, claimant) of those that others have claimed."""
        with Draft(self._folder.tmp) as draft:
            mine, others = self._claims.claim(keys, draft.name, unused=unused)
            removed, stuck = self._folder.remove_all(mine)
            self._report(*stuck.values())
            if mine:
                self._claims.release(draft.name)
        return removed, others

    def _set_aside(self, name: str, claimant: str) -> Path | None:
        """A namespace's files lie there now; whoever was writing or evicting in it has finished."""
        aside = list[Path | None]()
        try:
            for _ in range(ATTEMPTS):
                for other in self._claims.claim_all(name, claimant):
                    wait_for(self._folder.tmp / other)
                    self._claims.release(other)
            self._claims.claim_rest(
                name, claimant, lambda: aside.append(self._folder.set_aside(name))
            )
        except FAULTS as error:
            self._report(error)
        return aside[0] if aside else self._folder.set_aside(name)

    def _report(self, *errors: Exception) -> None:
        for error in errors:
            why = "the cache %s cannot remove all it should: %s"
            self._faults.report("remove", why, self._folder.path, reason(error))
