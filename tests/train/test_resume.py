"""A run that was killed goes on as if it had not been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from minireranker.errors import ConfigurationError
from minireranker.models.checkpoint import Checkpoint
from minireranker.train import TrainSettings, train
from minireranker.train.run_folder import RunFolder

STEPS = 24

PROGRAM = """
import sys
from minireranker.train import TrainSettings, train
model, data, out = sys.argv[1:]
train(TrainSettings(model=model, data=(data,), out=out, epochs=12, batch_pairs=4, save_every=3,
                    held_out=(data,), evaluate_every=4, learning_rate=1e-2, progress=False))
"""


def settings(model: Path, data: Path, out: Path, **other: Any) -> TrainSettings:
    given = {"epochs": 12, "batch_pairs": 4, "save_every": 3, "evaluate_every": 4}
    given |= {"held_out": (str(data),), "learning_rate": 1e-2, "progress": False}
    return TrainSettings(model=str(model), data=(str(data),), out=out, **(given | other))


def logged(out: Path) -> list[dict[str, Any]]:
    """Without what a clock says."""
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [{key: row[key] for key in row if key != "seconds"} for row in rows]


def count(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.is_file() else 0


def kill_after(lines: int, arguments: list[str], out: Path) -> None:
    """Run the program, and kill it without a word once so many lines are in its log."""
    environment = os.environ | {"PYTHONWARNINGS": "default"}
    process = subprocess.Popen([sys.executable, "-P", "-c", PROGRAM, *arguments], env=environment)
    try:
        end = time.monotonic() + 120
        while count(out / "log.jsonl") < lines:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < end, "it takes too long"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_a_killed_run_ends_as_an_uninterrupted_one(
    small: Path, pairs: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    result = train(settings(small, pairs, whole))
    assert result.steps == STEPS
    kill_after(8, [str(small), str(pairs), str(killed)], killed)
    done = len([row for row in logged(killed) if "loss" in row])
    assert 6 < done < STEPS
    assert not (killed / "model").exists()
    # What a kill in the middle of writing leaves behind.
    with (killed / "log.jsonl").open("a") as log:
        log.write('{"step": 1, "lo')
    (killed / ".state.pt.part").write_bytes(b"PK half")
    again = train(settings(small, pairs, killed))
    assert logged(killed) == logged(whole)
    assert (again.loss, again.best) == (result.loss, result.best)
    assert Checkpoint.open(again.model).digest() == Checkpoint.open(result.model).digest()
    third = train(settings(small, pairs, killed))
    assert (third.loss, third.best, third.steps) == (result.loss, result.best, STEPS)
    assert logged(killed) == logged(whole)
    with pytest.raises(ConfigurationError, match=r"learning_rate was 0\.01, is 0\.02"):
        train(settings(small, pairs, killed, learning_rate=0.02))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("keep")
    with pytest.raises(ConfigurationError, match="not empty and holds no run"):
        RunFolder(tmp_path, {"a": 1}, may_write=True)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_a_damaged_state_is_said_to_be(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", {"a": 1}, may_write=True)
    assert folder.load("state.pt") is None
    folder.save("state.pt", {"x": torch.ones(300)})
    path = tmp_path / "run" / "state.pt"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ConfigurationError, match=r"state\.pt is damaged"):
        folder.load("state.pt")


def test_a_reader_writes_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", {"a": 1}, may_write=False)
    folder.log({"step": 1})
    folder.save("state.pt", {"step": 1})
    assert not (tmp_path / "run").exists()
