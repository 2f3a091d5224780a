"""What a run leaves on the disk: whose it is, its log, the state to go on from, the best state.

run.json          the settings and the data it was started with
log.jsonl         one object a step, and one an evaluation
survey.json       lengths of the data; survey-held-out.json
teacher.f32       the teacher's scores
state.pt          the last checkpoint: masters, optimizer, step
best.pt           masters of the best evaluation
model/            the merged checkpoint, once the run has ended
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from minireranker.errors import ConfigurationError

from .files import replace_with, write_atomically

STATE, BEST = "state.pt", "best.pt"


class RunFolder:
    """One run's folder. Written by the first process alone."""

    def __init__(self, path: Path, identity: Mapping[str, Any], *, may_write: bool) -> None:
        """Begin a run, or take up the one that is there.

        Raises ConfigurationError where another run, or anything else, is in the folder.
        """
        self.path, self._may_write = path, may_write
        self._log = path / "log.jsonl"
        found = self._identity()
        if found is not None:
            _compare(path, found, json.loads(json.dumps(identity)))
        elif path.exists() and (not path.is_dir() or _others(path)):
            raise ConfigurationError(
                f"{path} is not empty and holds no run; name another folder, or a new one"
            )
        if may_write and found is None:
            _make(path)
            text = json.dumps(identity, indent=2, ensure_ascii=False) + "\n"
            write_atomically(path / "run.json", text.encode("utf-8", "surrogatepass"))

    @property
    def model(self) -> Path:
        """Where the merged checkpoint goes."""
        return self.path / "model"

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Tensors and plain values, whole or not at all."""
        if self._may_write:
            replace_with(self.path / name, lambda part: torch.save(state, part))

    def load(self, name: str) -> dict[str, Any] | None:
        """What was saved last, on the CPU; None: nothing was.

        Raises ConfigurationError for a damaged file.
        """
        path = self.path / name
        if not path.is_file():
            return None
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            raise ConfigurationError(
                f"{path} is damaged ({error}); remove it to begin the run again"
            ) from error
        assert isinstance(found, dict), "save takes a dict"
        return found

    def log(self, record: Mapping[str, Any]) -> None:
        """One line more."""
        if self._may_write:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

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
    return [item for item in path.iterdir() if item.name != ".run.json.part"]


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


def _step(line: bytes) -> float:
    """Infinity for what a kill has left of a line."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
