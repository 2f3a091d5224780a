"""Two processes, one folder, 10 000 mixed operations: what one confirmed holds for the other.

    python -P tests/cache/mixed_operations.py --operations 10000 --seed 0

Both tell each other, in shared memory, when they began and ended what to which key, by one clock.
From that follows, for every read, whether a hit was stale and whether a miss was a loss; what an
entry holds follows from its key. Meanwhile the parent sums up the folder's bytes, all the time.
Prints one line of JSON and exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import mmap
import os
import random
import runpy
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import torch

from minireranker.cache.disk import DiskCache
from minireranker.cache.key import Namespace

SAMPLES = runpy.run_path(str(Path(__file__).with_name("sample_entries.py")))
make_entry, kind_of, is_right = (SAMPLES[name] for name in ("make_entry", "kind_of", "is_right"))

BUDGET = 2**21
STEADY = Namespace({"model": "steady"}, "small tenant", label="steady")
BUSY = Namespace({"model": "busy"}, "large tenant", label="busy")
KEYS = SAMPLES["keys_of"](STEADY, 24) + SAMPLES["keys_of"](BUSY, 120)
"""The small tenant never holds most, so the large one pays for both: none of its entries goes."""
PINNABLE = range(24, 40)

PROCESSES = 2
SPANS = ("put", "confirmed", "delete", "pin", "unpin")
"""What is written down of every key: when the last one began, and when it ended."""
FIGURES = ("hits", "misses", "puts", "refused", "deleted", "stale", "lost", "wrong", "raised")
CLOCKS = ("longest wait", "longest operation")


@dataclass
class Board:
    """Shared memory: begin and end of the last put, delete, ... of each key by each process."""

    cells: memoryview = field(init=False)

    def __post_init__(self) -> None:
        self.figures = PROCESSES * len(KEYS) * len(SPANS) * 2
        size = self.figures + PROCESSES * (len(FIGURES) + len(CLOCKS))
        self.cells = memoryview(mmap.mmap(-1, 8 * size)).cast("q")

    def at(self, process: int, key: int, span: str) -> int:
        return ((process * len(KEYS) + key) * len(SPANS) + SPANS.index(span)) * 2

    def begin(self, process: int, key: int, span: str, when: int | None = None) -> None:
        self.cells[self.at(process, key, span)] = when or time.monotonic_ns()

    def end(self, process: int, key: int, span: str) -> None:
        self.cells[self.at(process, key, span) + 1] = time.monotonic_ns()

    def last_ended(self, key: int, span: str) -> int:
        """When the latest that has ended, by any process, began; 0 if there was none."""
        spans = [self.cells[at : at + 2] for at in self._all(key, span)]
        return max(begun if begun <= ended else 0 for begun, ended in spans)

    def any_since(self, key: int, span: str, moment: int) -> bool:
        """Whether one is under way or ended after ``moment``."""
        spans = [self.cells[at : at + 2] for at in self._all(key, span)]
        return any(begun > ended or ended > moment for begun, ended in spans)

    def _all(self, key: int, span: str) -> list[int]:
        return [self.at(process, key, span) for process in range(PROCESSES)]

    def figure(self, process: int, name: str) -> int:
        return self.figures + process * len(FIGURES + CLOCKS) + (FIGURES + CLOCKS).index(name)

    def both(self, name: str) -> list[int]:
        return [self.cells[self.figure(process, name)] for process in range(PROCESSES)]


@dataclass
class Worker:
    """One of the processes."""

    number: int
    cache: DiskCache
    draw: random.Random
    board: Board

    def work(self, operations: int) -> None:
        for space in (STEADY, BUSY):
            self.cache.register(space)
        kinds = {self.get: 40, self.put: 35, self.touch: 8, self.delete: 9, self.pin: 4}
        kinds[self.unpin] = 4
        for do in self.draw.choices(list(kinds), list(kinds.values()), k=operations):
            start = time.monotonic_ns()
            do()
            self.slowest("longest operation", time.monotonic_ns() - start)
        self.slowest("longest wait", round(self.cache.database.longest_wait * 1e9))

    def get(self) -> int:
        """Read any key; a hit must not be stale, a miss not a loss. Returns the key's number."""
        key = self.draw.randrange(len(KEYS))
        gone, there = self.board.last_ended(key, "delete"), self.secured(key)
        found = self.cache.get(KEYS[key], kind_of(KEYS[key]))
        if found is None:
            self.count("misses")
            self.count("lost", there > 0 and not self.released(key, there))
        else:
            self.count("hits")
            self.count("wrong", not is_right(KEYS[key], found.entry))
            self.count("stale", gone > 0 and not self.board.any_since(key, "put", gone))
        return key

    def secured(self, key: int) -> int:
        """When the confirmed put (or pin) began since which ``key`` cannot be evicted; 0: it can.

        Of a pin only what followed it can undo it; a confirmed put speaks for the small tenant.
        """
        return self.board.last_ended(key, "pin" if key in PINNABLE else "confirmed") * (
            key in PINNABLE or key < PINNABLE.start
        )

    def released(self, key: int, moment: int) -> bool:
        return any(self.board.any_since(key, span, moment) for span in ("delete", "unpin"))

    def put(self) -> None:
        key = self.draw.randrange(len(KEYS))
        entry, begun = make_entry(KEYS[key]), time.monotonic_ns()
        self.board.begin(self.number, key, "put", begun)
        kept = self.cache.put(KEYS[key], entry)
        self.board.end(self.number, key, "put")
        self.count("puts" if kept else "refused")
        if kept:
            self.board.begin(self.number, key, "confirmed", begun)
            self.board.end(self.number, key, "confirmed")

    def touch(self) -> None:
        """Read, and have the last use written down at once: what mostly waits for a batch."""
        self.get()
        self.cache.flush()

    def delete(self) -> None:
        key = self.draw.randrange(len(KEYS))
        self.board.begin(self.number, key, "delete")
        self.count("deleted", self.cache.delete([KEYS[key]]))
        self.board.end(self.number, key, "delete")

    def pin(self) -> None:
        key, begun = self.draw.choice(PINNABLE), time.monotonic_ns()
        if self.cache.pin([KEYS[key]]):
            self.board.begin(self.number, key, "pin", begun)
            self.board.end(self.number, key, "pin")

    def unpin(self) -> None:
        key = self.draw.choice(PINNABLE)
        self.board.begin(self.number, key, "unpin")
        self.cache.unpin([KEYS[key]])
        self.board.end(self.number, key, "unpin")

    def count(self, name: str, more: int = 1) -> None:
        self.board.cells[self.board.figure(self.number, name)] += more

    def slowest(self, name: str, nanoseconds: int) -> None:
        at = self.board.figure(self.number, name)
        self.board.cells[at] = max(self.board.cells[at], nanoseconds)


def start(path: Path, number: int, seed: int, operations: int, board: Board) -> int:
    """Fork one worker; returns its process number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        with DiskCache(path, max_bytes=BUDGET) as cache:
            worker = Worker(number, cache, random.Random(f"{seed} {number}"), board)
            worker.work(operations)
        os._exit(0)
    except BaseException:
        board.cells[board.figure(number, "raised")] += 1
        traceback.print_exc()
    finally:
        os._exit(3)


def bytes_held(path: Path) -> int:
    """Bytes of files that were there together: each was seen, and at the end was still the same.

    What came while we looked is not counted, so that the sum is never more than there was.
    """
    seen = {}
    for part in ("tmp", "entries"):
        for place, _, names in os.walk(path / part):
            for name in names:
                seen[os.path.join(place, name)] = status_of(os.path.join(place, name))
    there = {name: status for name, status in seen.items() if status is not None}
    return sum(size for name, (inode, size) in there.items() if inode_of(name) == inode)


def status_of(name: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(name)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size


def inode_of(name: str) -> int | None:
    status = status_of(name)
    return status and status[0]


def watch(path: Path, workers: list[int]) -> tuple[list[int], list[int]]:
    """Sum up the folder until both have ended; returns the sums and how they ended."""
    sums, ends = [], []
    while workers:
        sums.append(bytes_held(path))
        time.sleep(0.001)
        for pid in list(workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                workers.remove(pid)
                ends.append(status)
    return sums, ends


def run(operations: int, seed: int) -> tuple[dict[str, object], list[str]]:
    board, began = Board(), time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "cache"
        with DiskCache(path, max_bytes=BUDGET):  # import all there is before the first fork
            pass
        each = operations // PROCESSES
        gc.freeze()  # or each child's first full collection copies all of torch's pages: 90 ms
        workers = [start(path, n, seed, each, board) for n in range(PROCESSES)]
        sums, ends = watch(path, workers)
    figures = {name: sum(board.both(name)) for name in FIGURES}
    waits = {f"{name} ms": [round(ns / 1e6, 2) for ns in board.both(name)] for name in CLOCKS}
    room = {"budget": BUDGET, "most bytes": max(sums), "looks": len(sums)}
    problems = [name for name in ("stale", "lost", "wrong", "raised") if figures[name]]
    problems += ["a process failed"] * any(ends)
    problems += ["over the budget"] * (max(sums) > BUDGET + SAMPLES["LARGEST"])
    problems += ["a long lock wait"] * (max(board.both("longest wait")) > 100e6)
    seconds = round(time.monotonic() - began, 1)
    return {"operations": operations, "seconds": seconds, **figures, **waits, **room}, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    result, problems = run(options.operations, options.seed)
    print(json.dumps({**result, "problems": problems}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
