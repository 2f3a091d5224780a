"""Kill -9 at random moments: writers and readers on one folder, round after round.

    python -P tests/cache/crash_rounds.py --rounds 200 --seed 0 --writers 4 --readers 2

Each round forks its processes, kills every one of them at its own moment, and looks at what is
left: entries first as they lie, then after ``verify``. What an entry holds follows from its key, so
every read is checked to the bit. Nothing is wrong with the machine, so a warning of the cache is a
problem too. Prints one line of JSON and exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import collections
import gc
import json
import logging
import mmap
import os
import random
import runpy
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch

from minireranker.cache.disk import DiskCache
from minireranker.cache.format import load
from minireranker.cache.key import Namespace
from minireranker.cache.verify import verify

SAMPLES = runpy.run_path(str(Path(__file__).with_name("sample_entries.py")))
make_entry, kind_of, is_right = (SAMPLES[name] for name in ("make_entry", "kind_of", "is_right"))

BUDGET = 2**20
NAMESPACES = {
    name: Namespace({"model": name}, tenant, label=name)
    for name, tenant in (("plain", ""), ("other", "t1"), ("dropped", "t1"), ("kept", ""))
}
KEYS = {
    name: SAMPLES["keys_of"](space, 12 if name == "kept" else 80)
    for name, space in NAMESPACES.items()
}
KNOWN = {key for keys in KEYS.values() for key in keys}
LOOSE = [key for name, keys in KEYS.items() if name != "kept" for key in keys]
"""Keys that anyone may delete or drop; a pinned one of "kept" has to outlive every kill."""

COUNTS = (
    "opened",
    "put",
    "refused",
    "read",
    "missed",
    "deleted",
    "dropped",
    "verified",
    "wrong",
    "raised",
)
PATIENCE = 2.0
"""Seconds the processes may take to open the folder: the machine may be busy with other things."""
PROMISES = 6
"""How many keys of "kept" one writer pins in one round."""
ROUNDS_PINNED = 10
"""After so many rounds all are unpinned: pins have to outlast evictions, too."""


@dataclass
class Board:
    """Figures all processes share: a row of counts and of promised keys for each."""

    processes: int
    cells: memoryview = field(init=False)

    def __post_init__(self) -> None:
        self.width = len(COUNTS) + PROMISES
        self.cells = memoryview(mmap.mmap(-1, 8 * (1 + self.processes * self.width))).cast("q")

    def clear(self) -> None:
        self.cells[:] = memoryview(bytes(self.cells.nbytes)).cast("q")

    def count(self, process: int, name: str, more: int = 1) -> None:
        self.cells[1 + process * self.width + COUNTS.index(name)] += more

    def promise(self, process: int, slot: int, number: int) -> None:
        self.cells[1 + process * self.width + len(COUNTS) + slot] = 1 + number

    def rows(self) -> Iterator[list[int]]:
        for process in range(self.processes):
            yield list(self.cells[1 + process * self.width :][: self.width])


class Scribe(logging.Handler):
    """Lines for the parent, one write each: they outlive the process that wrote them."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.WARNING)
        self.path = path
        self.file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND)

    def note(self, text: str) -> None:
        os.write(self.file, text.replace("\n", " | ").encode() + b"\n")

    def emit(self, record: logging.LogRecord) -> None:
        home = str(self.path.parent)
        self.note(f"logged {record.module}: {record.getMessage().replace(home, '')}")

    def take(self) -> list[str]:
        lines = self.path.read_text().splitlines()
        os.truncate(self.path, 0)
        return lines


@dataclass
class Worker:
    """One process: opens the folder and works until it is killed."""

    path: Path
    number: int
    draw: random.Random
    board: Board
    scribe: Scribe
    promised: int = 0
    listed: list[str] = field(default_factory=list)
    """Keys that were there a moment ago."""

    def work(self, step: Callable[[DiskCache], None]) -> NoReturn:
        while not self.board.cells[0]:
            time.sleep(0.0002)
        while True:
            try:
                with DiskCache(self.path, max_bytes=BUDGET) as cache:
                    self.count("opened")
                    cache.register(self.draw.choice(list(NAMESPACES.values())))
                    for _ in range(self.draw.randint(1, 400)):
                        step(cache)
            except BaseException:
                self.count("raised")
                self.scribe.note("raised " + traceback.format_exc())

    def write(self, cache: DiskCache) -> None:
        roll, some = self.draw.random(), self.draw.sample(LOOSE, 3)
        if roll < 0.7:
            self.count("put" if cache.put(some[0], make_entry(some[0])) else "refused")
        elif roll < 0.8:
            self.look(cache, some[0])
        elif roll < 0.86:
            self.count("deleted", cache.delete(some))
        elif roll < 0.9:
            self.promise(cache)
        elif roll < 0.92:
            self.count("dropped", cache.drop(NAMESPACES["dropped"].name))
        elif roll < 0.95:
            cache.pin(some[:1])
        elif roll < 0.99:
            cache.unpin(LOOSE)
        else:
            cache.prune(max_bytes=BUDGET * 3 // 4)

    def read(self, cache: DiskCache) -> None:
        roll, key = self.draw.random(), self.draw.choice(self.listed or LOOSE)
        if roll < 0.9:
            self.look(cache, key)
        elif roll < 0.95:
            data = cache.read_bytes(key)
            same = data is None or is_right(key, load(data, key, kind_of(key)).entry)
            self.wrong_if(not same, f"{key} has wrong bytes")
        elif roll < 0.98:
            self.listed = [info.key for info in cache.entries()]
            self.wrong_if(not KNOWN.issuperset(self.listed), f"listed {self.listed}")
        else:
            report = verify(cache)
            self.count("verified")
            self.wrong_if(bool(report.corrupt or report.foreign), f"verify found {report}")

    def look(self, cache: DiskCache, key: str) -> None:
        found = cache.get(key, kind_of(key))
        self.count("missed" if found is None else "read")
        self.wrong_if(found is not None and not is_right(key, found.entry), f"{key} reads wrong")

    def promise(self, cache: DiskCache) -> None:
        """Put and pin; what pin() confirmed is noted, for the parent to ask after."""
        number = self.draw.randrange(len(KEYS["kept"]))
        key = KEYS["kept"][number]
        if self.promised < PROMISES and cache.put(key, make_entry(key)) and cache.pin([key]):
            self.board.promise(self.number, self.promised, number)
            self.promised += 1

    def count(self, name: str, more: int = 1) -> None:
        self.board.count(self.number, name, more)

    def wrong_if(self, wrong: bool, what: str) -> None:
        if wrong:
            self.count("wrong")
            self.scribe.note(f"wrong {what}")


@dataclass
class Rounds:
    """The parent: forks, kills, inspects, and adds up."""

    home: Path
    seed: int
    writers: int
    readers: int
    totals: collections.Counter[str] = field(default_factory=collections.Counter)
    problems: list[str] = field(default_factory=list)
    promised: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.path = self.home / "cache"
        self.board = Board(self.writers + self.readers)
        self.scribe = Scribe(self.home / "notes")
        logging.getLogger("minireranker").addHandler(self.scribe)
        with DiskCache(self.path, max_bytes=BUDGET):  # import all there is before the first fork
            pass

    def run(self, number: int) -> None:
        draw = random.Random(f"{self.seed} {number}")
        self.board.clear()
        workers = [self.fork(at, draw.random()) for at in range(self.board.processes)]
        last = draw.uniform(0.005, 0.150)
        moments = {pid: draw.uniform(0.005, last) for pid in workers}
        self.kill(moments, draw.random() < 0.8, number)
        before = len(self.problems)
        for row in self.board.rows():
            self.totals.update(dict(zip(COUNTS, row, strict=False)))
        self.hear(number)
        self.inspect(number)
        self.totals["bad rounds"] += len(self.problems) > before

    def fork(self, at: int, seed: float) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            worker = Worker(self.path, at, random.Random(seed), self.board, self.scribe)
            worker.work(worker.write if at < self.writers else worker.read)
        finally:
            os._exit(3)

    def kill(self, moments: dict[int, float], patient: bool, number: int) -> None:
        """At those moments; if ``patient``, counted from when all have opened the folder."""
        self.board.cells[0] = 1
        start = time.monotonic()
        while patient and not all(row[0] for row in self.board.rows()):
            time.sleep(0.001)
            patient = time.monotonic() < start + PATIENCE
        start = time.monotonic()
        for pid, moment in sorted(moments.items(), key=lambda item: item[1]):
            time.sleep(max(0.0, start + moment - time.monotonic()))
            os.kill(pid, signal.SIGKILL)
        for pid in moments:
            _, status = os.waitpid(pid, 0)
            self.expect(os.WIFSIGNALED(status), f"round {number}: a process ended by itself")

    def hear(self, number: int) -> None:
        """What was noted since: all of it is trouble."""
        self.problems += [f"round {number}: {line}" for line in self.scribe.take()]

    def inspect(self, number: int) -> None:
        tag = f"round {number}"
        leftovers = sizes_in(self.path / "tmp")
        self.totals["killed in mid-put"] += bool(leftovers)
        self.totals["temporaries"] += len(leftovers)
        going = sum(size for name, size in leftovers.items() if ".drop/" in name)
        held = sum(sizes_in(self.path / "entries").values()) + sum(leftovers.values()) - going
        over = f"{tag}: {held} bytes in entries and tmp, budget {BUDGET}: {list(leftovers)}"
        self.expect(held <= BUDGET + SAMPLES["LARGEST"], over)
        # What a killed drop leaves goes with the next opening; until then it may be too much.
        self.totals["over by a drop"] += held + going > BUDGET + SAMPLES["LARGEST"]
        with DiskCache(self.path, max_bytes=BUDGET) as cache:
            self.expect(not cache.database.rebuilt, f"{tag}: the index had to be made anew")
            self.survivors(cache, tag)
            report = verify(cache)
            bad = report.corrupt or report.foreign
            self.expect(not bad, f"{tag}: verify found {report}")
            self.totals["adopted"] += report.adopted
            self.totals["lost rows"] += report.lost_rows
            self.audit(cache, tag)
            again = verify(cache)
            self.expect(again.problems == 0, f"{tag}: the second verify found {again}")
            if number % ROUNDS_PINNED == ROUNDS_PINNED - 1:
                cache.unpin(KEYS["kept"])
                self.promised.clear()
        self.hear(number)

    def survivors(self, cache: DiskCache, tag: str) -> None:
        """Whatever lies under its final name was published whole; no promise is broken."""
        names = {Path(name).stem for name in sizes_in(self.path / "entries")}
        for key in names & KNOWN:
            found = cache.get(key, kind_of(key))
            self.totals["survivors read"] += 1
            if found is None or not is_right(key, found.entry):
                self.totals["torn"] += 1
                why = "no miss" if found else "a miss"
                self.problems.append(f"{tag}: {key} survived damaged, and is {why}")
        for row in self.board.rows():
            kept = [KEYS["kept"][cell - 1] for cell in row[len(COUNTS) :] if cell]
            self.totals["promises"] += len(kept)
            self.promised.update(kept)
        gone = self.promised - names
        self.expect(not gone, f"{tag}: pinned entries are gone: {gone}")

    def audit(self, cache: DiskCache, tag: str) -> None:
        """After verify: files, rows and totals say the same, and nothing else is there."""
        files = {Path(name).stem: size for name, size in sizes_in(self.path / "entries").items()}
        rows = {info.key: info.bytes for info in cache.entries()}
        temporary = sizes_in(self.path / "tmp")
        top = {item.name.partition("-")[0] for item in self.path.iterdir()}
        strange = top - {"entries", "tmp", "index.sqlite3", "index.sqlite3.lock"}
        leaked = [*temporary, *strange, *(files.keys() ^ rows.keys()), *(files.keys() - KNOWN)]
        self.totals["leaked"] += len(leaked)
        self.expect(not leaked, f"{tag}: leaked {leaked}")
        self.expect(files == rows, f"{tag}: sizes of files and rows differ")
        self.expect(sum(files.values()) <= BUDGET, f"{tag}: over the budget after verify")
        ((entries, total),) = cache.database.query("SELECT sum(entries), sum(bytes) FROM totals")
        sums = (len(files), sum(files.values()))
        self.expect((entries or 0, total or 0) == sums, f"{tag}: totals {entries, total}, {sums}")
        self.expect((cache.stats.entries, cache.stats.bytes) == sums, f"{tag}: {cache.stats}")
        state = cache.database.query("PRAGMA integrity_check")
        self.expect(state == [("ok",)], f"{tag}: index {state}")

    def expect(self, right: bool, otherwise: str) -> None:
        if not right:
            self.problems.append(otherwise)


def sizes_in(folder: Path) -> dict[str, int]:
    """Bytes of every file below, by path."""
    return {
        os.path.join(place, name): os.lstat(os.path.join(place, name)).st_size
        for place, _, names in os.walk(folder)
        for name in names
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("rounds", 200), ("seed", 0), ("writers", 4), ("readers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        rounds = Rounds(Path(home), options.seed, options.writers, options.readers)
        gc.freeze()
        for number in range(options.rounds):
            rounds.run(number)
            if len(rounds.problems) > 50:
                break
    found = {**dict.fromkeys((*COUNTS, "torn", "leaked"), 0), **rounds.totals}
    seconds, problems = round(time.monotonic() - start, 1), rounds.problems
    result = {"rounds": number + 1, "seconds": seconds, **found}
    print(json.dumps({**result, "problems": len(problems), "first problems": problems[:10]}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
