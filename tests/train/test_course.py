"""The course of a run: what a kill, an interrupt or a full disk leaves of it."""

from __future__ import annotations

import json
import logging
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from minireranker.train.course import Course, Records
from minireranker.train.masters import Masters
from minireranker.train.optimizer import Optimizer
from minireranker.train.run_folder import BEST, STATE, RunFolder
from minireranker.train.settings import TrainSettings


@dataclass(frozen=True)
class Seen:
    """A look that is worth what it is told."""

    step: int
    worth: float

    def beats(self, other: Seen | None) -> bool:
        return other is None or self.worth > other.worth

    def figures(self) -> dict[str, Any]:
        return {"worth": self.worth}

    def summary(self) -> str:
        return str(self.worth)


class Counting:
    """One number that each step moves by 1."""

    def __init__(self, folder: RunFolder, **pace: Any) -> None:
        parameter = torch.nn.Parameter(torch.zeros(1))
        self.masters = Masters({"x": parameter})
        given = TrainSettings("m", ("d",), "o", progress=False, **pace)
        optimizer = Optimizer(self.masters.tensors, given)
        self.course = Course(self.masters, optimizer, folder, given, Seen)

    @property
    def value(self) -> float:
        return float(self.masters.tensors["x"].detach())

    def records(self, first: int, end: int) -> Records:
        """Interrupted where ``end`` steps are done."""
        for step in range(first, end):
            with torch.no_grad():
                self.masters.tensors["x"].add_(1)
            yield {"step": step + 1, "loss": 0.5}
        raise KeyboardInterrupt


def folder_at(path: Path) -> RunFolder:
    return RunFolder(path, {"a": 1}, may_write=True)


def test_the_best_look_is_that_of_the_weights_that_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed between a look and the next checkpoint; on another machine the looks come out less."""
    first = Counting(folder_at(tmp_path), save_every=3, evaluate_every=2)
    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.WARNING):
        first.course.run(
            8, lambda at: first.records(at, 5), lambda step: Seen(step, {2: 0.5, 4: 0.9}[step])
        )
    assert "stopped after step 5 of 8" in caplog.text
    assert "goes on from step 3" in caplog.text
    again = Counting(folder_at(tmp_path), save_every=3, evaluate_every=2)
    _, best = again.course.run(8, lambda at: again.records(at, 8), lambda step: Seen(step, 0.4))
    assert again.value == 8.0
    again.course.load_best()
    assert (best, again.value) == (Seen(4, 0.9), 4.0)


def test_a_full_disk_is_said_and_costs_what_was_not_saved(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "run")
    folder.save(STATE, {"step": 1, "x": torch.ones(9)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(OSError, match=r"state\.pt cannot be written.*make room"):
            folder.save(STATE, {"step": 2, "x": torch.ones(90_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    found = folder.load(STATE)
    assert found is not None
    assert found["step"] == 1
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == [".lock", "run.json", "state.pt"]


def test_the_log_is_json_whatever_the_loss_is(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    folder.log({"step": 1, "loss": float("nan"), "norm": float("inf"), "rate": 0.5})
    text = (tmp_path / "log.jsonl").read_text(encoding="utf-8")

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    assert json.loads(text, parse_constant=refuse)["rate"] == 0.5
    folder.cut_log(1)
    assert (tmp_path / "log.jsonl").read_text(encoding="utf-8") == text


def test_a_best_of_an_earlier_version_has_its_look_beside_the_step(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    run = Counting(folder, save_every=3, evaluate_every=3)
    with pytest.raises(KeyboardInterrupt):
        run.course.run(6, lambda at: run.records(at, 4), lambda step: Seen(step, 0.7))
    found = folder.load(BEST)
    assert found is not None
    del found["look"]
    folder.save(BEST, found)
    again = Counting(folder, save_every=3, evaluate_every=3)
    _, best = again.course.run(6, lambda at: again.records(at, 6), lambda step: Seen(step, 0.1))
    assert best == Seen(3, 0.7)
