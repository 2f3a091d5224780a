"""Two processes take the steps that one takes with twice the batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minireranker.train import TrainSettings, train

PROGRAM = """
import sys
from minireranker.cli import main
model, data, out = sys.argv[1:]
sys.argv = ["minireranker", "train", "-m", model, "-d", data, "-o", out, "--held-out", data]
sys.argv += ["--epochs", "3", "--batch-pairs", "2", "--method", "full", "--lr", "1e-3"]
sys.argv += ["--teacher", model, "--json"]
main()
"""


def numbers(out: Path, name: str) -> list[float]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


def test_two_processes_are_one(small: Path, pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    program, one, two = tmp_path / "program.py", tmp_path / "one", tmp_path / "two"
    program.write_text(PROGRAM)
    launcher = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone"]
    places = [str(program), str(small), str(pairs), str(two)]
    done = subprocess.run(
        [*launcher, "--nproc-per-node", "2", *places],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    given: dict[str, Any] = {"epochs": 3, "batch_pairs": 2, "accumulate": 2, "method": "full"}
    given |= {"held_out": (pairs,), "teacher": small, "learning_rate": 1e-3, "progress": False}
    train(TrainSettings(small, (pairs,), one, **given))
    for name in ("loss", "norm", "held_out_loss"):
        assert numbers(two, name) == pytest.approx(numbers(one, name), rel=1e-3), name
    assert len(numbers(two, "loss")) == 6
    assert json.loads(done.stdout)["steps"] == 6, "one of them says what came of it"
    assert json.loads((two / "run.json").read_text())["processes"] == 2
