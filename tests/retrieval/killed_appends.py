"""Kill -9 at random moments of create, append, delete and compact.

    python -P tests/retrieval/killed_appends.py --rounds 500 --seed 0

Each round forks a writer that notes what it is about to do and what it has done, kills it, and
looks at what is left: every document of the last finished step to the bit, and the step it was at
wholly there or not at all; the next write leaves no file that the index does not name. Prints one
line of JSON and exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import collections
import gc
import json
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch

from minireranker.errors import ConfigurationError
from minireranker.retrieval.vector_index import DTYPES, VectorIndex

SAMPLES = runpy.run_path(str(Path(__file__).with_name("index_documents.py")))
DIM, POOLED_DIM, vectors_of, kept_of, files_of = (
    SAMPLES[name] for name in ("DIM", "POOLED_DIM", "vectors_of", "kept_of", "files_of")
)
NAMES = [f"document {number}" for number in range(120)]
LIVES = 10
"""Rounds an index is kept for, before another is made."""

Documents = dict[str, int]
"""Name -> version."""


def after(step: dict, documents: Documents) -> Documents:
    """What an index has after a step."""
    gone = set(step.get("delete", ()))
    return {
        name: version
        for name, version in {**documents, **step.get("append", {})}.items()
        if name not in gone
    }


def contents(index: VectorIndex) -> dict[str, tuple[bytes, bytes, bytes]]:
    return kept_of(index, index.ids)


@dataclass
class Rounds:
    home: Path
    seed: int
    totals: collections.Counter[str] = field(default_factory=collections.Counter)
    problems: list[str] = field(default_factory=list)
    documents: Documents = field(default_factory=dict)
    version: int = 0
    dtype: str = "float32"
    known: dict[str, dict[tuple[str, int], tuple[bytes, bytes, bytes]]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        self.path, self.notes = self.home / "index", self.home / "notes"

    def run(self, number: int) -> None:
        draw = random.Random(f"{self.seed} {number}")
        if number % LIVES == 0:
            shutil.rmtree(self.path, ignore_errors=True)
            self.documents, self.dtype = {}, draw.choice(list(DTYPES))
        self.notes.write_bytes(b"")
        pid = os.fork()
        if not pid:
            self.write(draw)
        started = time.monotonic()
        while not self.notes.stat().st_size and time.monotonic() < started + 10:
            time.sleep(0.0002)
        time.sleep(draw.uniform(0, 0.08))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self.expect(os.WIFSIGNALED(status), f"round {number}: the writer ended by itself")
        self.inspect(f"round {number}")

    def write(self, draw: random.Random) -> NoReturn:
        """In the child, until it is killed."""
        try:
            file = os.open(self.notes, os.O_WRONLY | os.O_APPEND)
            os.write(file, b'{"create": 1}\n')
            with self.opened() as index:
                os.write(file, b"done\n")
                while True:
                    self.step(draw, index, file)
        finally:
            os._exit(3)

    def step(self, draw: random.Random, index: VectorIndex, file: int) -> None:
        self.version += 1
        roll, some = draw.random(), draw.sample(NAMES, draw.randint(1, 20))
        if roll < 0.6:
            documents = dict.fromkeys(some, self.version)
            os.write(file, json.dumps({"append": documents}).encode() + b"\n")
            index.append(some, vectors_of(documents), [json.dumps(name) for name in some])
        elif roll < 0.85:
            os.write(file, json.dumps({"delete": some}).encode() + b"\n")
            index.delete(some)
        else:
            os.write(file, b'{"compact": 1}\n')
            index.compact(progress=False)
        os.write(file, b"done\n")

    def opened(self) -> VectorIndex:
        sizes = {"dim": DIM, "pooled_dim": POOLED_DIM}
        try:
            return VectorIndex.create(
                self.path, identity="x", encoder="test", dtype=self.dtype, **sizes
            )
        except ConfigurationError:
            return VectorIndex.open(self.path, identity="x")

    def inspect(self, tag: str) -> None:
        lines = self.notes.read_text().splitlines()
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            if line == "done":
                continue
            step = json.loads(line)
            done = following == "done"
            self.totals[f"{'finished' if done else 'killed in'} {next(iter(step))}"] += 1
            before, self.documents = self.documents, after(step, self.documents)
            self.version = max(self.version, *self.documents.values(), 0)
            if not done:
                self.look(tag, step, before)
                return
        self.look(tag, {"nothing": 1}, self.documents)

    def look(self, tag: str, step: dict, before: Documents) -> None:
        """``self.documents`` or ``before``, nothing in between; then write, and see it tidy."""
        with self.opened() as index:
            found, report = contents(index), index.verify(progress=False)
            self.expect(report.sound, f"{tag}: {report}")
            self.expect(len(index) == len(found), f"{tag}: len {len(index)}, {len(found)} ids")
            happened = [self.documents, before]
            fitting = [some for some in happened if self._kept(some) == found]
            self.expect(bool(fitting), f"{tag}: neither before nor after {next(iter(step))}")
            self.totals["documents read"] += len(found)
            self.totals["undone"] += bool(fitting) and fitting[0] is not self.documents
            self.documents = dict(fitting[0]) if fitting else self.documents
            named = 1 + len(index._snapshot.manifest.names)
            self.totals["leftovers"] += len(files_of(self.path)) - named
            self.version += 1
            last = {"the parent's": self.version}
            index.append(list(last), vectors_of(last))
            self.documents = after({"append": last}, self.documents)
            self.expect(contents(index) == self._kept(self.documents), f"{tag}: after")
            files = files_of(self.path)
            self.expect(sum(files.values()) == sum(index.nbytes.values()), f"{tag}: left {files}")
            self.expect((self.path / "lock").stat().st_size == 0, f"{tag}: the lock is signed")

    def _kept(self, documents: Documents) -> dict[str, tuple[bytes, bytes, bytes]]:
        """What an index has to have of these documents: what one nobody killed made of them."""
        known = self.known.setdefault(self.dtype, {})
        fresh = {name: at for name, at in documents.items() if (name, at) not in known}
        if fresh:
            sizes = {"dim": DIM, "pooled_dim": POOLED_DIM, "dtype": self.dtype}
            with (
                tempfile.TemporaryDirectory() as folder,
                VectorIndex.create(folder, identity="x", encoder="test", **sizes) as index,
            ):
                index.append(list(fresh), vectors_of(fresh))
                known |= {(name, fresh[name]): kept for name, kept in contents(index).items()}
        return {name: known[name, at] for name, at in documents.items()}

    def expect(self, right: bool, otherwise: str) -> None:
        if not right:
            self.problems.append(otherwise)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("rounds", 500), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        rounds = Rounds(Path(home), options.seed)
        gc.freeze()
        for number in range(options.rounds):
            rounds.run(number)
            if len(rounds.problems) > 20:
                break
    problems = rounds.problems
    result = {"rounds": number + 1, "seconds": round(time.monotonic() - start, 1), **rounds.totals}
    print(json.dumps({**result, "problems": len(problems), "first problems": problems[:10]}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
