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

import numpy as np
import pytest
import torch

from minireranker import Reranker
from minireranker.errors import ConfigurationError, InputError
from minireranker.models.checkpoint import Checkpoint
from minireranker.train import TrainSettings, read_examples, train
from minireranker.train.loop import Loop
from minireranker.train.processes import Processes
from minireranker.train.run_folder import RunFolder
from minireranker.train.trained import Trained

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
        end = time.monotonic() + 600
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


def test_a_run_without_a_checkpoint_is_begun_otherwise(tmp_path: Path) -> None:
    """The first start often ends at once, with advice to add an argument."""
    first = RunFolder(tmp_path / "run", {"embedder": None}, may_write=True)
    first.log({"step": 1})
    first.save("best.pt", {"step": 1})
    again = RunFolder(tmp_path / "run", {"embedder": "e"}, may_write=True)
    assert sorted(path.name for path in again.path.iterdir()) == [".lock", "run.json"]
    again.log({"step": 1})
    again.save("state.pt", {"step": 1})
    for may_write in (True, False):
        with pytest.raises(ConfigurationError, match="embedder was 'e', is None"):
            RunFolder(tmp_path / "run", {"embedder": None}, may_write=may_write)
    RunFolder(tmp_path / "run", {"embedder": "e"}, may_write=True)
    assert (tmp_path / "run" / "log.jsonl").read_text() == '{"step": 1}\n'


def test_two_processes_do_not_write_one_run(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from minireranker.train.run_folder import RunFolder\n"
        "folder = RunFolder(Path(sys.argv[1]), {'a': 1}, may_write=True)\n"
        "print('open', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", program, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONWARNINGS": "default"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(ConfigurationError, match=r"another process is training in .*run"):
            RunFolder(tmp_path / "run", {"a": 1}, may_write=True)
        RunFolder(tmp_path / "run", {"a": 1}, may_write=False)
        process.send_signal(signal.SIGKILL)
    RunFolder(tmp_path / "run", {"a": 1}, may_write=True)


def test_pictures_that_come_back_are_trained_on(small: Path, pairs: Path, tmp_path: Path) -> None:
    """What an earlier start could not read is looked at again, until a step has been saved."""
    data = tmp_path / "pairs.jsonl"
    data.write_bytes(pairs.read_bytes())
    given = settings(small, data, tmp_path / "run", held_out=(), epochs=1)
    with pytest.raises(ConfigurationError, match="none of 8 pairs can be read"):
        train(given)
    copy(pairs.parent, tmp_path)
    assert train(given).skipped == ()
    (tmp_path / "0.png").unlink()
    assert train(given).skipped == (), "the plan is settled"


def test_a_disk_that_goes_ends_the_run_and_not_its_pairs(
    small: Path, pairs: Path, tmp_path: Path
) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_bytes(pairs.read_bytes())
    given = settings(small, data, tmp_path / "run", held_out=(), save_every=1)
    state = Reranker.from_pretrained(small, profile="mini", dtype="float32").state
    folder = RunFolder(tmp_path / "run", {}, may_write=True)
    trained = Trained(state, given)
    loop = Loop(given, state, read_examples([data]), trained, folder, Processes())
    plan = [[np.array([0, 1])], [np.array([4, 5])]]
    (tmp_path / "0.png").write_bytes((pairs.parent / "0.png").read_bytes())
    with pytest.raises(InputError, match=r"no pair can be read any more.*start the same run again"):
        loop.run(plan, None, None)
    assert [row["step"] for row in logged(folder.path)] == [1]
    copy(pairs.parent, tmp_path)
    again = Loop(given, state, read_examples([data]), trained, folder, Processes())
    again.run(plan, None, None)
    assert [(row["step"], row["pairs"]) for row in logged(folder.path)] == [(1, 2), (2, 2)]


def copy(source: Path, target: Path) -> None:
    for path in source.glob("*.png"):
        (target / path.name).write_bytes(path.read_bytes())


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
