"""Two processes on one folder: nothing stale, nothing lost, no long wait, no byte too many.

The operations are those of ``mixed_operations.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

OPERATIONS = 10_000


def run() -> dict[str, Any]:
    script = Path(__file__).with_name("mixed_operations.py")
    command = [sys.executable, "-P", str(script), "--operations", str(OPERATIONS)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.stdout, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    assert ended.returncode == (found["problems"] != []), ended.stderr
    return found


def test_two_processes_mix_ten_thousand_operations() -> None:
    found = run()
    if found["problems"] == ["a long lock wait"]:
        found = run()  # the machine may have stopped one that held the lock; hardly twice
    assert found["problems"] == [], found
    assert max(found["longest wait ms"]) <= 100
    # Both worked on the same keys, and the folder was full.
    assert found["operations"] == OPERATIONS
    assert min(found["hits"], found["misses"], found["puts"]) > OPERATIONS // 20
    assert found["deleted"] > OPERATIONS // 100
    assert found["most bytes"] > found["budget"] // 2
    assert found["looks"] > 100
