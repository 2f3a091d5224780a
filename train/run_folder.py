"""What a run leaves on the disk: whose it is, its log, the state to go on from, the best state.

run.json          the settings and the data it was started with
log.jsonl         one object a step, and one an evaluation
survey.json       lengths of the data; survey-held-out.json
teacher.f32       the teacher's scores
state.pt          the last checkpoint: masters, optimizer, step
best.pt           masters of the best evaluation, and that evaluation
model/            the merged checkpoint, once the run has ended
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import pickle
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from minireranker.errors import ConfigurationError

from .files import replace_with, write_atomically

STATE, BEST = "state.pt", "best.pt"

_LOCK = ".lock"
"""Empty; held by the process that writes."""


class RunFolder:
    """One run's folder. Written by the first process alone."""

    def __init__(self, path: Path, identity: Mapping[str, Any], *, may_write: bool) -> None:
        """Begin a run, or take up the one that is there.

        One that was started otherwise and never came to a checkpoint is begun anew. Raises
        ConfigurationError where another run, or anything else, is in the folder, and where another
        process writes there.
        """
        self.path, self._may_write = path, may_write
        self._log = path / "log.jsonl"
        if self._identity() is None and path.exists() and (not path.is_dir() or _others(path)):
            raise ConfigurationError(
                f"{path} is not empty and holds no run; name another folder, or a new one"
            )
        if may_write:
            _make(path)
            weakref.finalize(self, os.close, _locked(path))
        self._begin(json.loads(json.dumps(identity)))

    def _begin(self, wanted: dict[str, Any]) -> None:
        found = self._identity()
        if (self.path / STATE).is_file():
            _compare(self.path, found or {}, wanted)
        elif self._may_write and found != wanted:
            for path in (self._log, self.path / BEST):
                path.unlink(missing_ok=True)
            text = json.dumps(wanted, indent=2, ensure_ascii=False) + "\n"
            write_atomically(self.path / "run.json", text.encode("utf-8", "surrogatepass"))

    @property
    def model(self) -> Path:
        """Where the merged checkpoint goes."""
        return self.path / "model"

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Tensors and plain values, whole or not at all.

        Raises OSError where that does not fit on the disk; what was saved before is still there.
        """
        if not self._may_write:
            return
        try:
            replace_with(self.path / name, lambda part: torch.save(state, part))
        except RuntimeError as error:  # torch's word for a write that fell short
            raise OSError(
                f"{self.path / name} cannot be written ({error}); make room on the disk and start "
                "the same run again: it goes on from its last checkpoint"
            ) from error

    def load(self, name: str, *, mapped: bool = False) -> dict[str, Any] | None:
        """What was saved last, on the CPU; None: nothing was.

        ``mapped``: tensors are read from the file when they are looked at; not to be held on to.
        Raises ConfigurationError for a damaged file.
        """
        path = self.path / name
        if not path.is_file():
            return None
        try:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            raise ConfigurationError(
                f"{path} is damaged ({error}); remove it to begin the run again"
            ) from error
        assert isinstance(found, dict), "save takes a dict"
        return found

    def log(self, record: Mapping[str, Any]) -> None:
        """One line more; a number that is none is null, as JSON has no other word for it."""
        if self._may_write:
            line = json.dumps({name: _written(value) for name, value in record.items()})
            with self._log.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def cut_log(self, step: int) -> None:
        """Forget what was logged after ``step``: it is done again."""
        if self._may_write and self._log.is_file():
            lines = self._log.read_bytes().split(b"\n")
            kept = [line for line in lines if _step(line) <= step]
            write_atomically(self._log, b"".join(line + b"\n" for line in kept))

    def _identity(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.path / "run.json").read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be made ({error.strerror}); name another folder"
        ) from error


def _others(path: Path) -> list[Path]:
    """What is in a folder but the part of a run that was killed as it began."""
    return [item for item in path.iterdir() if item.name not in (".run.json.part", _LOCK)]


def _locked(path: Path) -> int:
    """A file that is this process's alone until it is closed. Raises ConfigurationError."""
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            os.close(lock)
            raise ConfigurationError(
                f"another process is training in {path}; wait for it, or name another folder"
            ) from error
        # A file system without locks is trained on all the same.
    return lock


def _compare(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    if differing:
        lines = "; ".join(
            f"{name} was {found.get(name)!r:.80}, is {wanted[name]!r:.80}" for name in differing
        )
        raise ConfigurationError(
            f"{path} holds a run that was started otherwise ({lines}); name another folder, or go "
            "on with the same settings"
        )


def _written(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _step(line: bytes) -> float:
    """Infinity for what a kill has left of a line."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
