"""A mapped file whose every block is checked the first time it is read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.errors import VectorIndexError

from .layout import BLOCK, CHECK, blocks_in, end_of


class CheckedFile:
    """The bytes of an immutable file, behind them the checks of its blocks.

    The map stays when the file is unlinked. It is copy-on-write: nothing written to a tensor from
    here reaches the file.
    """

    def __init__(self, path: Path, size: int, root: str) -> None:
        """Map ``path``, which has ``size`` bytes, and whose checks have the xxh3_128 ``root``.

        Raises FileNotFoundError, VectorIndexError for a file that is not the one meant.
        """
        self.path, self.size = path, size
        self.bytes = _mapped(path, size)  # [size] uint8
        self.end = end_of(size)
        checks = self.bytes[self.end :].numpy()
        if digest(checks) != root:
            raise damage(path, "its checksums are not those the index was left with")
        self._checks = np.frombuffer(checks.tobytes(), np.uint64)
        self._sound = np.zeros(blocks_in(self.end), bool)
        self.explain: Callable[[int, int], str] = lambda start, stop: ""
        """What the bytes from start to stop are, for a message."""

    def check(self, start: int, stop: int) -> None:
        """Raise VectorIndexError unless the bytes from ``start`` to ``stop`` are as written."""
        if stop > start:
            first, last = start // BLOCK, (stop - 1) // BLOCK
            if not self._sound[first : last + 1].all():
                self._check(first + np.flatnonzero(~self._sound[first : last + 1]))

    def check_all(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
        """``check`` for many spans, none of them empty, at once."""
        edges = np.zeros(len(self._sound) + 1, np.int64)
        np.add.at(edges, starts // BLOCK, 1)
        np.add.at(edges, (stops - 1) // BLOCK + 1, -1)
        self._check(np.flatnonzero((np.cumsum(edges)[:-1] > 0) & ~self._sound))

    def read(self, start: int, stop: int) -> Tensor:
        """Those bytes, [stop - start] uint8, not copied. Raises VectorIndexError."""
        self.check(start, stop)
        return self.bytes[start:stop]

    def damaged(self, advance: Callable[[], None]) -> list[int]:
        """Blocks that are not as written; reads all. ``advance`` is called after each block."""
        bad = []
        for block in range(len(self._sound)):
            if not self._is_sound(block):
                bad.append(block)
            advance()
        return bad

    def _check(self, blocks: NDArray[np.intp]) -> None:
        for block in blocks.tolist():
            if not self._is_sound(block):
                start, stop = block * BLOCK, min(block * BLOCK + BLOCK, self.end)
                what = f"bytes {start} to {stop} have changed since they were written"
                raise damage(self.path, f"{what}{self.explain(start, stop)}")
            self._sound[block] = True

    def _is_sound(self, block: int) -> bool:
        from xxhash import xxh3_64_intdigest

        found = self.bytes[block * BLOCK : min(block * BLOCK + BLOCK, self.end)].numpy()
        return xxh3_64_intdigest(found.data) == int(self._checks[block])


def digest(data: NDArray[np.uint8] | bytes) -> str:
    """xxh3_128 in hex."""
    from xxhash import xxh3_128_hexdigest

    return xxh3_128_hexdigest(data.data if isinstance(data, np.ndarray) else data)


def damage(path: Path, what: str) -> VectorIndexError:
    """The error for a file that is not as it was written."""
    return VectorIndexError(
        f"{path} is damaged: {what}. `minireranker vectors verify {path.parent}` lists every "
        "document hit: put a copy of the file in its place, or append those documents again and "
        "compact"
    )


def _mapped(path: Path, size: int) -> Tensor:
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode) or found.st_size != size:
        raise damage(path, f"it has {found.st_size} bytes instead of {size}")
    if size <= CHECK:
        raise damage(path, f"no file of an index has {size} bytes")
    try:
        return torch.from_file(os.fspath(path), False, size, dtype=torch.uint8)
    except RuntimeError as error:
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "removed meanwhile", str(path)) from error
        raise VectorIndexError(
            f"{path} cannot be mapped ({str(error).splitlines()[0]}): make it readable, or raise "
            "the limit of maps or of memory a process may have"
        ) from error
